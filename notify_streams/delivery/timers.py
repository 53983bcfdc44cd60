"""Timers: one document for each delivery that waits for an attempt.

The owner of its bucket makes the attempt.

``{_id: delivery key, bucket, role, due_at, attempt, provider, in_doubt, record, claim, replay}``. `attempt` is the number of the last one,
`provider` whom it called, `record` the channel message. `claim` is the token of the worker that makes the next attempt; it is set before
the call. A timer with the claim of another token is one whose call may have begun: the next call is marked as a possible duplicate.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from notify_streams.delivery.attempt_reader import AttemptReader
from notify_streams.records.outcomes import DeliveryState
from notify_streams.stores.mongo import TIMERS
from notify_streams.stores.mongo_errors import mongo_call

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from notify_streams.delivery.attempts import DeliveryStatus
    from notify_streams.delivery.delivery_ledger import Token
    from notify_streams.stores.mongo import Document, Shards

#: The most that one look counts on one shard.
MAX_COUNTED: Final = 10_000
_FIELDS: Final = ("bucket", "due_at", "attempt", "provider", "in_doubt", "record", "claim", "replay")


@dataclass(frozen=True, slots=True)
class Timer:
    """A timer as it was read."""

    key: bytes
    bucket: int
    #: The number of the last attempt.
    attempt: int
    #: That of the last call; None: there was none.
    provider: str | None
    in_doubt: bool
    record: bytes
    claim: bytes | None
    due_at: datetime
    #: An operator has added it, to a delivery that had ended.
    replay: bool

    @property
    def may_have_arrived(self) -> bool:
        """Whether a receipt may say that an earlier call was accepted, of which the worker did not learn it."""
        return (self.in_doubt or self.claim is not None) and not self.replay


def new_timer(
    key: bytes,
    bucket: int,
    role: str,
    due_ms: int,
    attempt: int,
    in_doubt: bool,
    record: bytes,
    *,
    provider: str | None = None,
    replay: bool = False,
) -> Document:
    """The document of a timer. `due_ms`: by the shard's clock, rounded up (`ShardClocks.latest_ms`)."""
    return {
        "_id": key,
        "bucket": bucket,
        "role": role,
        "due_at": datetime.fromtimestamp(due_ms / 1000, UTC),
        "attempt": attempt,
        "provider": provider,
        "in_doubt": in_doubt,
        "record": record,
        "claim": None,
        "replay": replay,
    }


def arm(timer: Document) -> Document:
    """The statement that adds a timer after the first attempt."""
    return {"q": {"_id": timer["_id"], "bucket": timer["bucket"]}, "u": timer, "upsert": True}


def arm_unless_there(timer: Document) -> Document:
    """The statement that adds the timer of another attempt; one that is there stays."""
    statement = arm(timer)
    return statement | {"u": {"$setOnInsert": {name: timer[name] for name in timer.keys() - statement["q"].keys()}}}


def record_bytes(statement: Document) -> int:
    """Bytes of the message in a statement of `arm_unless_there`."""
    return len(statement["u"]["$setOnInsert"]["record"])


def rearm(timer: Document, token: Token) -> Document:
    """The statement that replaces a timer which this worker has claimed."""
    return {"q": _claimed(timer["_id"], timer["bucket"], token), "u": timer}


def claim(timer: Timer, token: Token) -> Document:
    """The statement that claims a timer, unless it has changed since it was read."""
    as_read = {"_id": timer.key, "bucket": timer.bucket, "attempt": timer.attempt, "claim": timer.claim}
    return {"q": as_read, "u": {"$set": {"claim": token.random}}}


def drop(key: bytes, bucket: int, token: Token) -> Document:
    """The statement that deletes a timer which this worker has claimed: its delivery has ended."""
    return {"q": _claimed(key, bucket, token), "limit": 1}


def drop_unclaimed(key: bytes, bucket: int, attempt: int) -> Document:
    """The statement that deletes the timer of a parked call, unless a later attempt has begun."""
    return {"q": _unclaimed(key, bucket, attempt), "limit": 1}


def keep_unclaimed(key: bytes, bucket: int, attempt: int, record: bytes) -> Document:
    """The statement that gives the timer of a parked call another message, unless a later attempt has begun."""
    return {"q": _unclaimed(key, bucket, attempt), "u": {"$set": {"record": record}}}


def _unclaimed(key: bytes, bucket: int, attempt: int) -> Document:
    return {"_id": key, "bucket": bucket, "attempt": attempt, "claim": None}


def _claimed(key: bytes, bucket: int, token: Token) -> Document:
    return {"_id": key, "bucket": bucket, "claim": token.random}


class TimerReader:
    """Reads the timers of one role."""

    def __init__(self, shards: Shards, role: str, timeout_s: float) -> None:
        self._shards = shards
        self._role = role
        self._timeout_s = timeout_s
        self._attempts = AttemptReader(shards, timeout_s)

    async def due(
        self, shard: int, buckets: Collection[int], now: datetime, limit: int, skip: Collection[bytes]
    ) -> list[Timer]:
        """Timers of these buckets that are due, without `skip`, earliest first.

        Raises:
            StoreUnavailable: the shard does not answer.
        """
        query = self._query(buckets) | {"due_at": {"$lte": now}, "_id": {"$nin": list(skip)}}
        with mongo_call(f"read timers on shard {shard}", self._timeout_s):
            found = self._shards.database(shard)[TIMERS].find(query).sort("due_at", 1).limit(limit)
            return [_timer(one) async for one in found]

    async def next_due(self, shard: int, buckets: Collection[int], after: datetime) -> datetime | None:
        """When the next timer after `after` is due; None if there is none.

        Raises:
            StoreUnavailable: the shard does not answer.
        """
        query = self._query(buckets) | {"due_at": {"$gt": after}}
        with mongo_call(f"read timers on shard {shard}", self._timeout_s):
            found = await self._shards.database(shard)[TIMERS].find_one(query, {"due_at": 1}, sort=[("due_at", 1)])
        return None if found is None else found["due_at"]

    async def count_due(
        self, shard: int, buckets: Collection[int], now: datetime, skip: Collection[bytes]
    ) -> tuple[int, datetime | None]:
        """How many timers of these buckets are due, without `skip`, at most `MAX_COUNTED`; and when the oldest was.

        Raises:
            StoreUnavailable: the shard does not answer.
        """
        pipeline: list[dict[str, Any]] = [
            {"$match": self._query(buckets) | {"due_at": {"$lte": now}, "_id": {"$nin": list(skip)}}},
            {"$sort": {"due_at": 1}},
            {"$limit": MAX_COUNTED},
            {"$group": {"_id": None, "count": {"$sum": 1}, "oldest": {"$min": "$due_at"}}},
        ]
        with mongo_call(f"count timers on shard {shard}", self._timeout_s):
            found = await (await self._shards.database(shard)[TIMERS].aggregate(pipeline)).to_list()
        return (found[0]["count"], found[0]["oldest"]) if found else (0, None)

    async def delivered(self, bucket: int, keys: Sequence[bytes]) -> set[bytes]:
        """Of these deliveries of one bucket, which wait for an attempt, those that a receipt says were delivered.

        Without those that an operator wants to be sent again.

        Raises:
            StoreUnavailable: the shard does not answer.
        """
        statuses = await self._attempts.status(bucket, keys)
        return {key for key, status in statuses.items() if _has_arrived(status)}

    def _query(self, buckets: Collection[int]) -> dict[str, Any]:
        return {"bucket": {"$in": sorted(buckets)}, "role": self._role}


def _has_arrived(status: DeliveryStatus) -> bool:
    """A delivery that was accepted had ended: what waits since then was asked for."""
    is_replayed = any(call.ended is not None and call.ended.replay for call in status.calls.values())
    return status.state is DeliveryState.DELIVERED and not status.was_accepted and not is_replayed


def _timer(document: Mapping[str, Any]) -> Timer:
    bucket, due_at, attempt, provider, in_doubt, record, claimed, replay = (document[name] for name in _FIELDS)
    return Timer(document["_id"], bucket, attempt, provider, in_doubt, bytes(record), claimed, due_at, replay)
