"""Claims: a delivery belongs to the worker that wrote its token into it, so two workers never both think it is theirs.

A claim that another worker left behind (its state is ``sending``) may have reached the provider; who takes it over must mark the call.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pymongo
from pymongo import UpdateOne
from pymongo.errors import PyMongoError

from notify_streams.errors import StoreUnavailable
from notify_streams.records.reasons import State
from notify_streams.stores.shards import NOTIFICATIONS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from notify_streams.roles import Channel
    from notify_streams.stores.shards import Shards

_OPEN: Final = [State.QUEUED.value, State.DEFERRED.value]


@dataclass(frozen=True, slots=True)
class Claim:
    """One delivery that is ours: this is its `attempt`-th call, and an earlier one may have been accepted unseen."""

    token: str
    attempt: int
    possible_duplicate: bool


@dataclass(frozen=True, slots=True)
class Claimed:
    """What became of an attempt to claim; what is in neither was ended by somebody."""

    mine: dict[str, Claim]
    #: Asked for, and no notification has such a delivery.
    unknown: frozenset[str]


@dataclass(frozen=True, slots=True)
class Ended:
    """A delivery's new state, with what is known of it."""

    notification_id: str
    token: str
    state: State
    #: Claims and further calls, over all workers that had it.
    attempts: int
    reason: str | None = None
    provider: str | None = None
    provider_id: str | None = None


def new_token() -> str:
    """What tells one worker's claims from all others'; a new one for each batch."""
    return secrets.token_hex(8)


class Claims:
    """The deliveries of one channel, in the notifications of one shard's bucket at a time."""

    def __init__(self, shards: Shards, channel: Channel, timeout_s: float) -> None:
        self._shards = shards
        self._place = f"deliveries.{channel}"
        self.channel = channel
        self._timeout_s = timeout_s

    async def take(self, bucket: int, notification_ids: Sequence[str], token: str, now: datetime) -> Claimed:
        """Claim what is still to be sent, for whoever has this token (`new_token`).

        Raises:
            StoreUnavailable: nothing may be sent; some may be claimed. Ask again with the same token.
        """
        mine = {"bucket": bucket, "_id": {"$in": list(notification_ids)}}
        try:
            with pymongo.timeout(self._timeout_s):
                collection = self._shards.collection(NOTIFICATIONS, bucket)
                await collection.update_many(
                    mine | {f"{self._place}.state": {"$in": _OPEN}},
                    {
                        "$set": {
                            f"{self._place}.state": "sending",
                            f"{self._place}.claim": token,
                            f"{self._place}.at": now,
                        },
                        "$inc": {f"{self._place}.attempts": 1},
                    },
                )
                found = await self._found(bucket, notification_ids)
                left = {
                    identity: delivery
                    for identity, delivery in found.items()
                    if delivery["state"] == State.SENDING and delivery.get("claim") != token
                }
                if left:
                    found |= await self._take_over(bucket, left, token, now)
        except PyMongoError as error:
            raise StoreUnavailable(f"claims in bucket {bucket}: {type(error).__name__}") from error
        taken = {
            identity: Claim(token, delivery["attempts"], identity in left)
            for identity, delivery in found.items()
            if delivery.get("claim") == token
        }
        return Claimed(taken, frozenset(notification_ids) - found.keys())

    async def _found(self, bucket: int, notification_ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        """This channel's deliveries, as far as there are any."""
        query = {"bucket": bucket, "_id": {"$in": list(notification_ids)}}
        collection = self._shards.collection(NOTIFICATIONS, bucket)
        return {
            one["_id"]: one["deliveries"][self.channel]
            async for one in collection.find(query, {self._place: 1})
            if self.channel in one.get("deliveries", ())
        }

    async def _take_over(
        self, bucket: int, left: Mapping[str, Mapping[str, Any]], token: str, now: datetime
    ) -> dict[str, dict[str, Any]]:
        """Claim what another worker had claimed, unless somebody else does at the same time."""
        collection = self._shards.collection(NOTIFICATIONS, bucket)
        await collection.bulk_write(
            [
                UpdateOne(
                    {
                        "bucket": bucket,
                        "_id": identity,
                        f"{self._place}.state": State.SENDING.value,
                        f"{self._place}.claim": delivery.get("claim"),
                    },
                    {
                        "$set": {f"{self._place}.claim": token, f"{self._place}.at": now},
                        "$inc": {f"{self._place}.attempts": 1},
                    },
                )
                for identity, delivery in left.items()
            ],
            ordered=False,
        )
        return await self._found(bucket, left)

    async def still_mine(self, bucket: int, claimed: Mapping[str, Claim]) -> set[str]:
        """Which of these claims nobody took over meanwhile: asked before a call that comes later than it should.

        Raises:
            StoreUnavailable: nothing may be sent.
        """
        try:
            with pymongo.timeout(self._timeout_s):
                found = await self._found(bucket, claimed)
        except PyMongoError as error:
            raise StoreUnavailable(f"claims in bucket {bucket}: {type(error).__name__}") from error
        return {identity for identity, delivery in found.items() if delivery.get("claim") == claimed[identity].token}

    async def end(self, bucket: int, ended: Sequence[Ended], now: datetime) -> None:
        """Write what became of claimed deliveries; a claim that was taken over meanwhile is left alone.

        Raises:
            StoreUnavailable: write it again; nothing changes by that.
        """
        if not ended:
            return
        place = self._place
        try:
            with pymongo.timeout(self._timeout_s):
                await self._shards.collection(NOTIFICATIONS, bucket).bulk_write(
                    [
                        UpdateOne(
                            {"bucket": bucket, "_id": one.notification_id, f"{place}.claim": one.token},
                            {"$set": _fields(place, one, now), "$unset": {f"{place}.claim": ""}},
                        )
                        for one in ended
                    ],
                    ordered=False,
                )
        except PyMongoError as error:
            raise StoreUnavailable(f"claims in bucket {bucket}: {type(error).__name__}") from error


def _fields(place: str, ended: Ended, now: datetime) -> dict[str, Any]:
    fields = {
        "state": ended.state.value,
        "attempts": ended.attempts,
        "reason": ended.reason,
        "provider": ended.provider,
        "provider_id": ended.provider_id,
    }
    return {f"{place}.at": now} | {f"{place}.{name}": value for name, value in fields.items() if value is not None}
