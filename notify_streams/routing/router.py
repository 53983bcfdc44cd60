"""A batch of records in, the same batch decided out. Joins each trigger with where its person is, how they are reached and what they chose."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple, Protocol

from notify_streams import metrics
from notify_streams.failpoints import reach
from notify_streams.outbox.taken import Entry, Taken
from notify_streams.preferences.compiled import read_row
from notify_streams.records.buckets import bucket_of
from notify_streams.records.reasons import DeadReason
from notify_streams.records.trigger import Rejection
from notify_streams.routing.decision import Profile, decide
from notify_streams.routing.entries import dead, forwarded, moved, notified
from notify_streams.routing.hops import MAX_HOPS, hops_of, onward
from notify_streams.routing.lane import read_for
from notify_streams.stores.insist import insist

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from notify_streams.outbox.taken import SourceRecord
    from notify_streams.preferences.policy import Categories
    from notify_streams.records.trigger import Trigger
    from notify_streams.records.users import Contacts
    from notify_streams.roles import Lane
    from notify_streams.settings import Settings


class Home(NamedTuple):
    """Where a person is served, and their bucket."""

    region: str
    bucket: int


class People(Protocol):
    """What is known of people, on this worker, without asking anyone but the region's Redis."""

    def home(self, user_id: str) -> Home | None: ...

    def contacts(self, bucket: int, user_id: str) -> Contacts | None: ...

    async def preferences(self, bucket: int, user_ids: Sequence[str]) -> Sequence[bytes]:
        """A compiled row for each id, in order."""
        ...


class Batch(Protocol):
    """A batch as the transport delivers it."""

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int: ...
    @property
    def records(self) -> Sequence[SourceRecord]: ...


class Router:
    """Decides batches for one lane of one region."""

    def __init__(self, settings: Settings, categories: Categories, lane: Lane, people: People) -> None:
        self._region = settings.region
        self._partitions = settings.partitions
        self._limit_bytes = settings.max_trigger_bytes
        self._categories = categories
        self._lane: Lane = lane
        self._people = people

    async def take(self, batch: Batch, acknowledge: Callable[[], object], refuse: Callable[[int], object]) -> Taken:
        """Decide every record of `batch`. What cannot be decided becomes a dead letter; nothing is raised for a record's sake.

        Waits for preferences that cannot be had, for as long as that takes.
        """
        reach("after_fetch")
        began = time.perf_counter()
        mine = self._mine(batch)
        user_ids = [trigger.user_id for _, trigger in mine if not isinstance(trigger, Rejection)]
        rows = await insist(self._people.preferences, batch.partition, user_ids)
        now = datetime.now(UTC)
        # MongoDB keeps milliseconds; what is written and what is sent must agree.
        now = now.replace(microsecond=now.microsecond // 1000 * 1000)
        row = iter(rows)
        entries = [
            dead(record, batch.topic, batch.partition, trigger.reason, trigger.detail)
            if isinstance(trigger, Rejection)
            else self._entry(batch, record, trigger, next(row), now)
            for record, trigger in mine
        ]
        if entries:
            metrics.DECISION.observe((time.perf_counter() - began) / len(entries), len(entries))
        reach("after_decide")
        other_lane = len(batch.records) - len(entries)
        return Taken(batch.topic, batch.partition, batch.start, batch.end, entries, other_lane, acknowledge, refuse)

    def _mine(self, batch: Batch) -> list[tuple[SourceRecord, Trigger | Rejection]]:
        lane, categories, limit = self._lane, self._categories, self._limit_bytes
        return [
            (record, found)
            for record in batch.records
            if (found := read_for(lane, record, categories, limit)) is not None
        ]

    def _entry(self, batch: Batch, record: SourceRecord, trigger: Trigger, row: bytes, now: datetime) -> Entry:
        user_id = trigger.user_id
        home = self._people.home(user_id)
        # Only a person whom nobody knows costs a hash: the others' bucket came with the row.
        bucket = home.bucket if home is not None else bucket_of(user_id, self._partitions)
        if bucket != batch.partition:
            return moved(record, batch.topic, batch.partition, bucket, user_id)
        category = self._categories.get(trigger.category)
        if category is None:
            known = ", ".join(self._categories)
            return self._dead(
                batch, record, DeadReason.UNKNOWN_CATEGORY, f"no category {trigger.category!r}; there are: {known}"
            )
        if home is None:
            return self._dead(batch, record, DeadReason.UNKNOWN_USER, "no such user has signed up")
        if home.region != self._region:
            hops = hops_of(record.headers)
            if hops >= MAX_HOPS:
                return self._dead(
                    batch, record, DeadReason.TOO_MANY_HOPS, f"forwarded {hops} times, now towards {home.region}"
                )
            return forwarded(
                record, batch.topic, bucket, user_id, home.region, onward(record.headers, hops, self._region)
            )
        version, choices = read_row(row)
        profile = Profile(self._people.contacts(bucket, user_id), version, choices.get(category.number, 0))
        decision = decide(trigger, category, profile, now)
        return notified(record, bucket, trigger, decision, version, self._region, self._lane == "critical", now)

    def _dead(self, batch: Batch, record: SourceRecord, reason: DeadReason, detail: str) -> Entry:
        return dead(record, batch.topic, batch.partition, reason, detail)


def conflict(entry: Entry, topic: str, partition: int) -> Entry:
    """A trigger whose id was used before for something else."""
    return dead(entry.record, topic, partition, DeadReason.ID_CONFLICT, "this id was used before with other content")
