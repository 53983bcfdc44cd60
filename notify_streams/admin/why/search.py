"""Finds the documents of a trigger, a person, or a provider's message in a region.

Each shard is asked at the same time, by indexes. A shard that does not answer is named; what the others have is found.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from notify_streams.delivery.attempts import ID_BYTES, delivery_key, key_of, unpack
from notify_streams.delivery.provider_ids import PROVIDER_KEY, provider_keys, second_in
from notify_streams.errors import RetryLater
from notify_streams.outbox.outcome_notes import note_range
from notify_streams.records.ids import delivery_id
from notify_streams.records.partitioner import bucket_of
from notify_streams.records.person_slots import KEPT_FROM, bucket_times, person_times
from notify_streams.routing.waiting_triggers import unpack_waiting
from notify_streams.stores.mongo import ATTEMPTS, NOTIFICATIONS, OUTCOMES, TIMERS
from notify_streams.stores.mongo_errors import mongo_call

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from notify_streams.settings import Settings
    from notify_streams.stores.mongo import Document, Shards

#: Notifications, and other outcomes, that one answer shows.
MAX_FOUND: Final = 100
#: Values in one query. The first are fewer: the newest are wanted first.
_PARTS: Final = (50, 500, 5_000, 50_000)
#: Attempts of a shard that are looked through for a push, and around the time in its id.
_MAX_SCANNED: Final = 50_000
_SCAN_AT_ONCE: Final = 5_000
_BEFORE_S: Final = 600
#: A worker's clock may be ahead.
_AHEAD_S: Final = 300
#: Timers of triggers that wait for their users are looked through.
_MAX_WAITING: Final = 500
_MAX_ATTEMPTS: Final = 20


@dataclass(slots=True)
class Found:
    """Documents as they are stored."""

    notifications: list[Document] = field(default_factory=list)
    outcomes: list[Document] = field(default_factory=list)
    waiting: list[Document] = field(default_factory=list)
    #: A sentence for each shard that did not answer.
    problems: list[str] = field(default_factory=list)

    def add(self, other: Found) -> None:
        self.notifications += other.notifications
        self.outcomes += other.outcomes
        self.waiting += other.waiting
        self.problems += other.problems


class RegionSearch:
    """Searches one region."""

    def __init__(self, settings: Settings, shards: Shards, timeout_s: float) -> None:
        self._shards = shards
        self._timeout_s = timeout_s
        self._partitions = settings.partitions
        self._period_s = settings.retention.period_s
        self._kept_s = int(settings.retention.attempts.total_seconds())

    async def by_trigger(self, wanted: str) -> Found:
        """By trigger id, or `system/id`: what has a slash may be either."""
        found = await self._each_shard(lambda shard: self._trigger_on(shard, wanted))
        if not found.notifications and not found.outcomes:
            waiting = await self._each_shard(lambda shard: self._waiting_on(shard, wanted))
            found.waiting = waiting.waiting
        return found

    async def by_person(self, user_id: str, limit: int) -> Found:
        """The newest `limit` notifications and other outcomes of a person."""
        bucket = bucket_of(user_id, self._partitions)
        found = await self._each_shard(lambda shard: self._outcomes_of_person(shard, user_id, limit))
        try:
            found.notifications = await self._notifications_of_person(bucket, user_id, limit)
        except RetryLater as error:
            if str(error) not in found.problems:
                found.problems.append(str(error))
        return found

    async def by_provider_id(self, provider_id: str) -> Found:
        """The notifications that a provider's message was for."""
        return await self._each_shard(lambda shard: self._provider_on(shard, provider_id))

    async def _each_shard(self, ask: Callable[[int], Awaitable[Found]]) -> Found:
        async def answer(shard: int) -> Found:
            try:
                return await ask(shard)
            except RetryLater as error:
                return Found(problems=[str(error)])

        found = Found()
        for part in await asyncio.gather(*(answer(shard) for shard in range(len(self._shards)))):
            found.add(part)
        return found

    async def _trigger_on(self, shard: int, wanted: str) -> Found:
        database, buckets = self._shards.database(shard), self._shards.buckets(shard)
        ids = {wanted, wanted.partition("/")[2]} - {""}
        of_notes = [{"_id": note_range(one), "trigger_id": one} for one in ids]
        with mongo_call(f"the notifications on shard {shard}", self._timeout_s):
            notifications, outcomes = await asyncio.gather(
                database[NOTIFICATIONS].find(notification_query(wanted, buckets)).limit(MAX_FOUND).to_list(),
                database[OUTCOMES].find({"bucket": {"$in": buckets}, "$or": of_notes}).limit(MAX_FOUND).to_list(),
            )
        return Found(notifications, [one for one in outcomes if _is_of(one, wanted)])

    async def _waiting_on(self, shard: int, wanted: str) -> Found:
        query = {"bucket": {"$in": self._shards.buckets(shard)}, "role": {"$in": ["critical", "standard"]}}
        with mongo_call(f"the waiting triggers on shard {shard}", self._timeout_s):
            timers = await self._shards.database(shard)[TIMERS].find(query).limit(_MAX_WAITING).to_list()
        ids = [one.encode() for one in (wanted, wanted.partition("/")[2]) if one]
        return Found(waiting=[one for one in timers if any(_names(one["record"], identity) for identity in ids)])

    async def _outcomes_of_person(self, shard: int, user_id: str, limit: int) -> Found:
        query = {"user_id": user_id, "bucket": {"$in": self._shards.buckets(shard)}}
        with mongo_call(f"the outcomes on shard {shard}", self._timeout_s):
            found = self._shards.database(shard)[OUTCOMES].find(query).sort("at", -1).limit(limit)
            return Found(outcomes=await found.to_list())

    async def _notifications_of_person(self, bucket: int, user_id: str, limit: int) -> list[Document]:
        """Newest first: a query for some periods at a time, until there are enough."""
        until = int(time.time()) + _AHEAD_S
        buckets = (bucket, *self._shards.directory.former_buckets(bucket))
        times = [person_times(user_id, one, until, self._kept_s, self._period_s) for one in buckets]
        newest_first = [at for of_period in zip(*times, strict=True) for at in of_period]
        found: list[Document] = []
        for part in _parts(newest_first):
            query = {"bucket": bucket, KEPT_FROM: {"$in": part}, "user_id": user_id}
            with mongo_call(f"the notifications of bucket {bucket}", self._timeout_s):
                cursor = self._shards.collection(NOTIFICATIONS, bucket).find(query).sort(KEPT_FROM, -1)
                found += await cursor.limit(limit + 1 - len(found)).hint([(KEPT_FROM, 1)]).to_list()
            if len(found) > limit:
                break
        return sorted(found, key=lambda one: one["decided_at"], reverse=True)

    async def _provider_on(self, shard: int, provider_id: str) -> Found:
        attempts = await self._by_provider_key(shard, provider_id) or await self._among_newest(shard, provider_id)
        found = Found()
        for attempt in attempts[:_MAX_ATTEMPTS]:
            found.notifications += await self._notification_of(attempt)
        return found

    async def _by_provider_key(self, shard: int, provider_id: str) -> list[Document]:
        """Of an SMS or a mail."""
        for part in _parts(provider_keys(provider_id, int(time.time()) + _AHEAD_S, self._kept_s)):
            query = {"bucket": {"$in": self._shards.buckets(shard)}, PROVIDER_KEY: {"$in": part}}
            with mongo_call(f"the attempts on shard {shard}", self._timeout_s):
                cursor = self._shards.database(shard)[ATTEMPTS].find(query).limit(MAX_FOUND)
                some = await cursor.hint([(PROVIDER_KEY, 1)]).to_list()
            if matching := [one for one in some if unpack(one["p"]).provider_id == provider_id]:
                return matching
        return []

    async def _among_newest(self, shard: int, provider_id: str) -> list[Document]:
        """Of a push: among the newest, or around the time that its id says."""
        query: Document = {"bucket": {"$in": self._shards.buckets(shard)}}
        if (second := second_in(provider_id)) is not None:
            first, last = (one.to_bytes(4, "big") for one in (second - _BEFORE_S, second + _AHEAD_S))
            query["_id"] = {"$gte": first + bytes(ID_BYTES - 4), "$lt": last + bytes(ID_BYTES - 4)}
        identity, found = provider_id.encode(), []
        with mongo_call(f"the attempts on shard {shard}", self._timeout_s):
            cursor = self._shards.database(shard)[ATTEMPTS].find(query, batch_size=_SCAN_AT_ONCE).sort("_id", -1)
            async for one in cursor.limit(_MAX_SCANNED):
                if identity in one["p"] and unpack(one["p"]).provider_id == provider_id:
                    found.append(one)
                    break
        return found

    async def _notification_of(self, attempt: Document) -> list[Document]:
        """An attempt has a hash of its delivery only: look through the notifications of its bucket that were decided in its second."""
        key, bucket = key_of(attempt["_id"]), attempt["bucket"]
        second = int.from_bytes(key[:4], "big")
        buckets = (bucket, *self._shards.directory.former_buckets(bucket))
        spans = [span for one in buckets for span in bucket_times(one, second, self._period_s)]
        query = {"bucket": bucket, "$or": [{KEPT_FROM: {"$gte": first, "$lt": end}} for first, end in spans]}
        found = []
        with mongo_call(f"the notifications of bucket {bucket}", self._timeout_s):
            cursor = self._shards.collection(NOTIFICATIONS, bucket).find(query, batch_size=_SCAN_AT_ONCE)
            async for one in cursor.hint([(KEPT_FROM, 1)]):
                decided_s = int(one["decided_at"].timestamp())
                if decided_s == second and any(
                    delivery_key(delivery_id(one["_id"], channel), decided_s) == key for channel in one["deliveries"]
                ):
                    found.append(one)
                    break
        return found


def _parts(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    first = 0
    for size in _PARTS:
        if first < len(values):
            yield values[first : first + size]
        first += size


def notification_query(wanted: str, buckets: list[int]) -> dict[str, Any]:
    """Selects notifications by trigger id, or by ``<system>/<trigger id>``: what has a slash may be either."""
    choices = [_with_id(wanted)]
    system, slash, trigger_id = wanted.partition("/")
    if slash:
        choices.append(_with_id(trigger_id) | {"system": system})
    return {"bucket": {"$in": buckets}, "$or": choices}


def _with_id(trigger_id: str) -> dict[str, Any]:
    """A range of `_id`, which is ``<trigger id>-<hexadecimal digits>``."""
    return {"_id": {"$gte": f"{trigger_id}-0", "$lt": f"{trigger_id}-g"}, "trigger_id": trigger_id}


def _is_of(outcome: Document, wanted: str) -> bool:
    """Of a forwarded trigger the note may not say the system."""
    system = wanted.partition("/")[0]
    return bool(outcome["trigger_id"] == wanted or outcome.get("system", system) == system)


def _names(record: bytes, identity: bytes) -> bool:
    _, _, value, _ = unpack_waiting(record)
    return value is not None and b'"%b"' % identity in value
