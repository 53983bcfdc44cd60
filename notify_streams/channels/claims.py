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
    from collections.abc import Mapping, Sequence
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
class Ended:
    """A delivery's new state, with what is known of it."""

    notification_id: str
    token: str
    state: State
    reason: str | None = None
    provider: str | None = None
    provider_id: str | None = None


class Claims:
    """The deliveries of one channel, in the notifications of one shard's bucket at a time."""

    def __init__(self, shards: Shards, channel: Channel, timeout_s: float) -> None:
        self._shards = shards
        self._place = f"deliveries.{channel}"
        self._channel = channel
        self._timeout_s = timeout_s

    async def take(self, bucket: int, notification_ids: Sequence[str], now: datetime) -> dict[str, Claim]:
        """Claim what is still to be sent; what is missing in the answer was ended by somebody, or never existed.

        Raises:
            StoreUnavailable: nothing may be sent; some may be claimed, and will then be marked.
        """
        token = secrets.token_hex(8)
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
                found = {
                    one["_id"]: one["deliveries"][self._channel]
                    async for one in collection.find(mine, {self._place: 1})
                }
                left = {
                    identity: delivery
                    for identity, delivery in found.items()
                    if delivery["state"] == State.SENDING and delivery.get("claim") != token
                }
                if left:
                    found |= await self._take_over(bucket, left, token, now)
        except PyMongoError as error:
            raise StoreUnavailable(f"claims in bucket {bucket}: {type(error).__name__}") from error
        return {
            identity: Claim(token, delivery["attempts"], identity in left)
            for identity, delivery in found.items()
            if delivery.get("claim") == token
        }

    async def _take_over(
        self, bucket: int, left: Mapping[str, Mapping[str, Any]], token: str, now: datetime
    ) -> dict[str, dict[str, Any]]:
        """Claim what another worker had claimed, unless somebody else does at the same time."""
        collection = self._shards.collection(NOTIFICATIONS, bucket)
        await collection.bulk_write(
            [
                UpdateOne(
                    {"bucket": bucket, "_id": identity, f"{self._place}.claim": delivery.get("claim")},
                    {
                        "$set": {f"{self._place}.claim": token, f"{self._place}.at": now},
                        "$inc": {f"{self._place}.attempts": 1},
                    },
                )
                for identity, delivery in left.items()
            ],
            ordered=False,
        )
        query = {"bucket": bucket, "_id": {"$in": list(left)}}
        return {one["_id"]: one["deliveries"][self._channel] async for one in collection.find(query, {self._place: 1})}

    async def still_mine(self, bucket: int, claimed: Mapping[str, Claim]) -> set[str]:
        """Which of these claims nobody took over meanwhile: asked before a call that comes later than it should.

        Raises:
            StoreUnavailable: nothing may be sent.
        """
        query = {"bucket": bucket, "_id": {"$in": list(claimed)}}
        try:
            with pymongo.timeout(self._timeout_s):
                collection = self._shards.collection(NOTIFICATIONS, bucket)
                return {
                    one["_id"]
                    async for one in collection.find(query, {f"{self._place}.claim": 1})
                    if one["deliveries"][self._channel].get("claim") == claimed[one["_id"]].token
                }
        except PyMongoError as error:
            raise StoreUnavailable(f"claims in bucket {bucket}: {type(error).__name__}") from error

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
        "reason": ended.reason,
        "provider": ended.provider,
        "provider_id": ended.provider_id,
    }
    return {f"{place}.at": now} | {f"{place}.{name}": value for name, value in fields.items() if value is not None}
