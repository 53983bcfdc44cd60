"""Claims: a delivery belongs to the worker that wrote its token into it, so two workers never both think it is theirs.

A claim that another worker left behind (its state is ``sending``) may have reached the provider; who takes it over must mark the call.
"""

from __future__ import annotations

import secrets
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from pymongo.errors import OperationFailure

from notify_streams.errors import StoreUnavailable
from notify_streams.records.outcomes import DeliveryState
from notify_streams.stores.mongo import DURABLE, NOTIFICATIONS
from notify_streams.stores.mongo_errors import mongo_call
from notify_streams.stores.request_batcher import RequestBatcher

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from notify_streams.roles import Channel
    from notify_streams.stores.mongo import Document, Shards

_OPEN: Final = [DeliveryState.QUEUED.value, DeliveryState.DEFERRED.value]


@dataclass(frozen=True, slots=True)
class Claim:
    """One delivery that is ours: this is its `attempt`-th call, and an earlier one may have been accepted unseen."""

    token: str
    attempt: int
    possible_duplicate: bool


@dataclass(frozen=True, slots=True)
class ClaimResult:
    """What became of an attempt to claim; what is in neither was ended by somebody."""

    mine: dict[str, Claim]
    #: Asked for, and no notification has such a delivery.
    unknown: frozenset[str]


@dataclass(frozen=True, slots=True)
class DeliveryEnd:
    """A delivery's new state, with what is known of it."""

    notification_id: str
    token: str
    state: DeliveryState
    #: Claims and further calls, over all workers that had it.
    attempts: int
    reason: str | None = None
    provider: str | None = None
    provider_id: str | None = None


def new_token() -> str:
    """What tells one worker's claims from all others'; a new one for each batch."""
    return secrets.token_hex(8)


@dataclass(frozen=True, slots=True)
class _Take:
    bucket: int
    notification_ids: Sequence[str]
    token: str
    now: datetime


@dataclass(frozen=True, slots=True)
class _End:
    bucket: int
    ended: Sequence[DeliveryEnd]
    now: datetime


class Claims:
    """The deliveries of one channel. What is asked at the same time for several buckets of a shard goes there as one command."""

    def __init__(self, shards: Shards, channel: Channel, timeout_s: float) -> None:
        self._shards = shards
        self._place = f"deliveries.{channel}"
        self.channel = channel
        self._timeout_s = timeout_s
        self._takes = [RequestBatcher(partial(self._take_on, shard)) for shard in range(len(shards))]
        self._ends = [RequestBatcher(partial(self._end_on, shard)) for shard in range(len(shards))]

    async def take(self, bucket: int, notification_ids: Sequence[str], token: str, now: datetime) -> ClaimResult:
        """Claim what is still to be sent, for whoever has this token (`new_token`).

        Raises:
            StoreUnavailable: nothing may be sent; some may be claimed. Ask again with the same token.
        """
        wanted = _Take(bucket, notification_ids, token, now)
        return await self._takes[self._shards.of(bucket)].call(wanted, len(notification_ids))

    async def still_mine(self, bucket: int, claimed: Mapping[str, Claim]) -> set[str]:
        """Which of these claims nobody took over meanwhile: asked before a call that comes later than it should.

        Raises:
            StoreUnavailable: nothing may be sent.
        """
        shard = self._shards.of(bucket)
        with self._answering(shard, [bucket]):
            (found,) = await self._found(shard, [(bucket, claimed)])
        return {identity for identity, delivery in found.items() if delivery.get("claim") == claimed[identity].token}

    async def end(self, bucket: int, ended: Sequence[DeliveryEnd], now: datetime) -> None:
        """Write what became of claimed deliveries; a claim that was taken over meanwhile is left alone.

        Raises:
            StoreUnavailable: write it again; nothing changes by that.
        """
        if ended:
            await self._ends[self._shards.of(bucket)].call(_End(bucket, ended, now), len(ended))

    async def _take_on(self, shard: int, takes: Sequence[_Take]) -> list[ClaimResult]:
        with self._answering(shard, [one.bucket for one in takes]):
            await self._update(shard, [self._taking(one) for one in takes])
            found = await self._found(shard, [(one.bucket, one.notification_ids) for one in takes])
            return [await self._claimed(shard, one, deliveries) for one, deliveries in zip(takes, found, strict=True)]

    async def _claimed(self, shard: int, take: _Take, deliveries: dict[str, Document]) -> ClaimResult:
        left = {
            identity: delivery
            for identity, delivery in deliveries.items()
            if delivery["state"] == DeliveryState.SENDING and delivery.get("claim") != take.token
        }
        if left:
            deliveries = deliveries | await self._take_over(shard, take, left)
        mine = {
            identity: Claim(take.token, delivery["attempts"], identity in left)
            for identity, delivery in deliveries.items()
            if delivery.get("claim") == take.token
        }
        return ClaimResult(mine, frozenset(take.notification_ids) - deliveries.keys())

    async def _take_over(self, shard: int, take: _Take, left: Mapping[str, Document]) -> dict[str, Document]:
        """Claim what another worker had claimed, unless somebody else does at the same time."""
        place = self._place
        await self._update(
            shard,
            [
                {
                    "q": {
                        "bucket": take.bucket,
                        "_id": identity,
                        f"{place}.state": DeliveryState.SENDING.value,
                        f"{place}.claim": delivery.get("claim"),
                    },
                    "u": {
                        "$set": {f"{place}.claim": take.token, f"{place}.at": take.now},
                        "$inc": {f"{place}.attempts": 1},
                    },
                }
                for identity, delivery in left.items()
            ],
        )
        (found,) = await self._found(shard, [(take.bucket, left)])
        return found

    async def _end_on(self, shard: int, ends: Sequence[_End]) -> list[None]:
        place = self._place
        with self._answering(shard, [one.bucket for one in ends]):
            await self._update(
                shard,
                [
                    {
                        "q": {"bucket": one.bucket, "_id": ended.notification_id, f"{place}.claim": ended.token},
                        "u": {"$set": _fields(place, ended, one.now), "$unset": {f"{place}.claim": ""}},
                    }
                    for one in ends
                    for ended in one.ended
                ],
            )
        return [None] * len(ends)

    def _taking(self, take: _Take) -> Document:
        place = self._place
        return {
            "q": {"bucket": take.bucket, "_id": {"$in": list(take.notification_ids)}, f"{place}.state": {"$in": _OPEN}},
            "u": {
                "$set": {
                    f"{place}.state": DeliveryState.SENDING.value,
                    f"{place}.claim": take.token,
                    f"{place}.at": take.now,
                },
                "$inc": {f"{place}.attempts": 1},
            },
            "multi": True,
        }

    async def _update(self, shard: int, updates: Sequence[Document]) -> None:
        """Durably. Each update may be repeated, so the driver need not make the server keep a note of every one."""
        answer = await self._shards.database(shard).command(
            {"update": NOTIFICATIONS, "updates": updates, "ordered": False, "writeConcern": DURABLE.document}
        )
        if problem := answer.get("writeConcernError") or next(iter(answer.get("writeErrors", ())), None):
            raise OperationFailure("not written", problem["code"])

    async def _found(self, shard: int, wanted: Sequence[tuple[int, Iterable[str]]]) -> list[dict[str, Document]]:
        """This channel's deliveries, as far as there are any, for each bucket with its notifications."""
        asked = [identity for _, identities in wanted for identity in identities]
        query = {"bucket": {"$in": [bucket for bucket, _ in wanted]}, "_id": {"$in": asked}}
        cursor = self._shards.database(shard)[NOTIFICATIONS].find(
            query, {self._place: 1, "bucket": 1}, batch_size=len(asked) + 1
        )
        found: dict[tuple[int, str], Document] = {}
        async for one in cursor:
            if self.channel in one.get("deliveries", ()):
                found[one["bucket"], one["_id"]] = one["deliveries"][self.channel]
        return [
            {identity: found[bucket, identity] for identity in identities if (bucket, identity) in found}
            for bucket, identities in wanted
        ]

    @contextmanager
    def _answering(self, shard: int, buckets: Sequence[int]) -> Iterator[None]:
        if any(self._shards.of(bucket) != shard for bucket in buckets):
            raise StoreUnavailable(f"a bucket has left shard {shard}: ask again")
        with mongo_call(f"claims on shard {shard}", self._timeout_s):
            yield


def _fields(place: str, ended: DeliveryEnd, now: datetime) -> dict[str, Any]:
    fields = {
        "state": ended.state.value,
        "attempts": ended.attempts,
        "reason": ended.reason,
        "provider": ended.provider,
        "provider_id": ended.provider_id,
    }
    return {f"{place}.at": now} | {f"{place}.{name}": value for name, value in fields.items() if value is not None}
