"""Claims: the tokens in MongoDB by which one worker owns a delivery.

A delivery that is ``sending`` with another worker's token is abandoned: that worker's call may have reached the provider, so the
next call is marked as a possible duplicate.
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
    """One delivery that this worker owns."""

    token: str
    #: Claims of this delivery, this one included.
    attempt: int
    #: An earlier claim was abandoned.
    possible_duplicate: bool


@dataclass(frozen=True, slots=True)
class ClaimResult:
    """The claims by notification id. Deliveries in neither field have ended."""

    mine: dict[str, Claim]
    #: Requested ids without a notification or without a delivery on this channel.
    unknown: frozenset[str]


@dataclass(frozen=True, slots=True)
class DeliveryEnd:
    """The final state of a delivery."""

    notification_id: str
    token: str
    state: DeliveryState
    #: Calls by all workers that owned it.
    attempts: int
    reason: str | None = None
    provider: str | None = None
    provider_id: str | None = None


def new_token() -> str:
    """A token for the claims of one batch."""
    return secrets.token_hex(8)


@dataclass(frozen=True, slots=True)
class _ClaimRequest:
    bucket: int
    notification_ids: Sequence[str]
    token: str
    now: datetime


@dataclass(frozen=True, slots=True)
class _EndRequest:
    bucket: int
    ended: Sequence[DeliveryEnd]
    now: datetime


class Claims:
    """The deliveries of one channel. Concurrent requests for several buckets of a shard are sent as one command."""

    def __init__(self, shards: Shards, channel: Channel, timeout_s: float) -> None:
        self._shards = shards
        self._field = f"deliveries.{channel}"
        self.channel = channel
        self._timeout_s = timeout_s
        self._claim_batchers = [RequestBatcher(partial(self._claim_on, shard)) for shard in range(len(shards))]
        self._end_batchers = [RequestBatcher(partial(self._end_on, shard)) for shard in range(len(shards))]

    async def claim(self, bucket: int, notification_ids: Sequence[str], token: str, now: datetime) -> ClaimResult:
        """Claim the deliveries that have not ended, for the owner of `token`. Repeating it with the same token changes nothing.

        Raises:
            StoreUnavailable: some may be claimed. Send nothing; repeat the call with the same token.
        """
        request = _ClaimRequest(bucket, notification_ids, token, now)
        return await self._claim_batchers[self._shards.of(bucket)].call(request, len(notification_ids))

    async def verify_claims(self, bucket: int, claimed: Mapping[str, Claim]) -> set[str]:
        """The notification ids of the claims that no other worker has replaced.

        Raises:
            StoreUnavailable: send nothing.
        """
        shard = self._shards.of(bucket)
        with self._mongo_call(shard, [bucket]):
            (deliveries,) = await self._find(shard, [(bucket, claimed)])
        return {key for key, delivery in deliveries.items() if delivery.get("claim") == claimed[key].token}

    async def end(self, bucket: int, ended: Sequence[DeliveryEnd], now: datetime) -> None:
        """Write the final states of claimed deliveries; those whose claim was replaced stay unchanged.

        Raises:
            StoreUnavailable: repeat the call; a state that was written stays as it is.
        """
        if ended:
            await self._end_batchers[self._shards.of(bucket)].call(_EndRequest(bucket, ended, now), len(ended))

    async def _claim_on(self, shard: int, requests: Sequence[_ClaimRequest]) -> list[ClaimResult]:
        with self._mongo_call(shard, [one.bucket for one in requests]):
            await self._update(shard, [self._claim_open(one) for one in requests])
            found = await self._find(shard, [(one.bucket, one.notification_ids) for one in requests])
            return [
                await self._claim_result(shard, one, deliveries)
                for one, deliveries in zip(requests, found, strict=True)
            ]

    async def _claim_result(self, shard: int, request: _ClaimRequest, deliveries: dict[str, Document]) -> ClaimResult:
        abandoned = {
            key: delivery
            for key, delivery in deliveries.items()
            if delivery["state"] == DeliveryState.SENDING and delivery.get("claim") != request.token
        }
        if abandoned:
            deliveries = deliveries | await self._claim_abandoned(shard, request, abandoned)
        mine = {
            key: Claim(request.token, delivery["attempts"], key in abandoned)
            for key, delivery in deliveries.items()
            if delivery.get("claim") == request.token
        }
        return ClaimResult(mine, frozenset(request.notification_ids) - deliveries.keys())

    def _claim_open(self, request: _ClaimRequest) -> Document:
        return {
            "q": {
                "bucket": request.bucket,
                "_id": {"$in": list(request.notification_ids)},
                f"{self._field}.state": {"$in": _OPEN},
            },
            "u": self._claim_update(request),
            "multi": True,
        }

    async def _claim_abandoned(
        self, shard: int, request: _ClaimRequest, abandoned: Mapping[str, Document]
    ) -> dict[str, Document]:
        """Replace the claims of other workers, each only if it is still the one that was read."""
        updates = [
            {
                "q": {
                    "bucket": request.bucket,
                    "_id": key,
                    f"{self._field}.state": DeliveryState.SENDING.value,
                    f"{self._field}.claim": delivery.get("claim"),
                },
                "u": self._claim_update(request),
            }
            for key, delivery in abandoned.items()
        ]
        await self._update(shard, updates)
        (deliveries,) = await self._find(shard, [(request.bucket, abandoned)])
        return deliveries

    def _claim_update(self, request: _ClaimRequest) -> Document:
        return {
            "$set": {
                f"{self._field}.state": DeliveryState.SENDING.value,
                f"{self._field}.claim": request.token,
                f"{self._field}.at": request.now,
            },
            "$inc": {f"{self._field}.attempts": 1},
        }

    async def _end_on(self, shard: int, requests: Sequence[_EndRequest]) -> list[None]:
        updates = [
            {
                "q": {"bucket": one.bucket, "_id": ended.notification_id, f"{self._field}.claim": ended.token},
                "u": {"$set": _end_fields(self._field, ended, one.now), "$unset": {f"{self._field}.claim": ""}},
            }
            for one in requests
            for ended in one.ended
        ]
        with self._mongo_call(shard, [one.bucket for one in requests]):
            await self._update(shard, updates)
        return [None] * len(requests)

    async def _update(self, shard: int, updates: Sequence[Document]) -> None:
        """A plain command, because the driver's retryable writes make the server store a record of each update."""
        reply = await self._shards.database(shard).command(
            {"update": NOTIFICATIONS, "updates": updates, "ordered": False, "writeConcern": DURABLE.document}
        )
        if error := reply.get("writeConcernError") or next(iter(reply.get("writeErrors", ())), None):
            raise OperationFailure("not written", error["code"])

    async def _find(self, shard: int, wanted: Sequence[tuple[int, Iterable[str]]]) -> list[dict[str, Document]]:
        """For each (bucket, notification ids): the existing deliveries of this channel by notification id."""
        ids = [key for _, keys in wanted for key in keys]
        query = {"bucket": {"$in": [bucket for bucket, _ in wanted]}, "_id": {"$in": ids}}
        cursor = self._shards.database(shard)[NOTIFICATIONS].find(
            query, {self._field: 1, "bucket": 1}, batch_size=len(ids) + 1
        )
        found: dict[tuple[int, str], Document] = {}
        async for document in cursor:
            if self.channel in document.get("deliveries", ()):
                found[document["bucket"], document["_id"]] = document["deliveries"][self.channel]
        return [{key: found[bucket, key] for key in keys if (bucket, key) in found} for bucket, keys in wanted]

    @contextmanager
    def _mongo_call(self, shard: int, buckets: Sequence[int]) -> Iterator[None]:
        if any(self._shards.of(bucket) != shard for bucket in buckets):
            raise StoreUnavailable(f"a bucket was moved from shard {shard} during the call: repeat the call")
        with mongo_call(f"claims on shard {shard}", self._timeout_s):
            yield


def _end_fields(field: str, ended: DeliveryEnd, now: datetime) -> dict[str, Any]:
    fields = {
        "state": ended.state.value,
        "attempts": ended.attempts,
        "reason": ended.reason,
        "provider": ended.provider,
        "provider_id": ended.provider_id,
    }
    return {f"{field}.at": now} | {f"{field}.{name}": value for name, value in fields.items() if value is not None}
