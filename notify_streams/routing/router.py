"""A batch of records in, the same batch decided out. Joins each trigger with where its person is, how they are reached and what they chose."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from notify_streams import metrics
from notify_streams.failpoints import failpoint
from notify_streams.outbox.decided_batch import DecidedBatch, RecordOutcome
from notify_streams.preferences.row_codec import decode_row
from notify_streams.records.ids import notification_id
from notify_streams.records.outcomes import DeadReason
from notify_streams.records.partitioner import bucket_of
from notify_streams.records.trigger import Rejection
from notify_streams.regions.forwarding.headers import (
    NOT_FORWARDED,
    forwarded_headers,
    read_forwarding_headers,
    without_forwarding_headers,
)
from notify_streams.regions.forwarding.next_hop import Forward, LocalAction, next_hop
from notify_streams.retry import STORE
from notify_streams.routing.decision import decide
from notify_streams.routing.lane import read_trigger_for_lane
from notify_streams.routing.notification_document import NotificationTemplate
from notify_streams.routing.outcome_records import dead, forwarded, notified, repartitioned
from notify_streams.topics import FORWARDED

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from notify_streams.preferences.categories import Categories
    from notify_streams.records.batch import AckHandle, Batch, SourceRecord
    from notify_streams.records.trigger import Trigger
    from notify_streams.regions.failover.placement import Placement
    from notify_streams.regions.forwarding.headers import ForwardingHeaders
    from notify_streams.regions.locations import Location
    from notify_streams.roles import Lane
    from notify_streams.routing.decision import ReachableAddresses
    from notify_streams.settings import Settings

    #: What is known of a trigger's person: the key, home, how they are reached, and the compiled row of their choices.
    _Known = tuple[bytes, Location | None, ReachableAddresses | None, bytes]


class PlacementSource(Protocol):
    """Who serves whom, kept up to date: `regions.learning.Learning`. `placement` is there before the first batch."""

    placement: Placement | None

    async def changed(self, epoch: int) -> Placement: ...


class RecipientSource(Protocol):
    """What is known of people, on this worker, without asking anyone but the region's Redis."""

    @property
    def homes(self) -> Callable[[Sequence[str]], Sequence[Location | None]]:
        """Where each is at home, in order; None for somebody whom nobody knows."""
        ...

    def ways(self, bucket: int, user_ids: Sequence[bytes]) -> Sequence[ReachableAddresses | None]:
        """How each is reached, in order; None for whom no contact is known here."""
        ...

    async def preferences(self, bucket: int, user_ids: Sequence[str]) -> Sequence[bytes]:
        """A compiled row for each id, in order."""
        ...


class Router:
    """Decides batches for one lane of one region."""

    def __init__(
        self, settings: Settings, categories: Categories, lane: Lane, people: RecipientSource, served: PlacementSource
    ) -> None:
        self._region = settings.region
        self._partitions = settings.partitions
        self._limit_bytes = settings.max_trigger_bytes
        self._most_bytes = settings.max_record_bytes
        self._categories = categories
        self._lane: Lane = lane
        self._people = people
        self._served = served
        #: What `next_hop` says of a trigger that entered here, by where its person is and was at home: every trigger asks.
        self._hops: dict[tuple[str, str | None, int], LocalAction | Forward] = {}
        self._hops_of: Placement | None = None

    async def take(self, batch: Batch, delivered: AckHandle) -> DecidedBatch:
        """Decide every record of `batch`. What cannot be decided becomes a dead letter; nothing is raised for a record's sake.

        Waits for preferences that cannot be had, and for the end of a change of who serves whom that the batch is in the middle of, for
        as long as that takes.
        """
        failpoint("after_fetch")
        while True:
            placement = self._served.placement
            assert placement is not None, "nothing is read before the worker has learnt who serves whom"
            try:
                return await self._decided(batch, placement, delivered)
            except _PlacementPending:
                await self._served.changed(placement.epoch)

    async def _decided(self, batch: Batch, placement: Placement, delivered: AckHandle) -> DecidedBatch:
        began = time.perf_counter()
        mine = self._mine(batch)
        user_ids = [trigger.user_id for _, trigger in mine if not isinstance(trigger, Rejection)]
        rows = await STORE.call(self._people.preferences, batch.partition, user_ids)
        now = datetime.now(UTC)
        # MongoDB keeps milliseconds; what is written and what is sent must agree.
        now = now.replace(microsecond=now.microsecond // 1000 * 1000)
        if placement is not self._hops_of:
            self._hops, self._hops_of = {}, placement
        keys = [user_id.encode() for user_id in user_ids]
        known = zip(keys, self._people.homes(user_ids), self._people.ways(batch.partition, keys), rows, strict=True)
        form = NotificationTemplate(batch.partition, self._region, self._lane == "critical", now)
        look_for: dict[int, str] = {}
        entries = [
            self._dead(batch, record, trigger.reason, trigger.detail)
            if isinstance(trigger, Rejection)
            else self._entry(batch, record, trigger, next(known), form, placement, look_for, place)
            for place, (record, trigger) in enumerate(mine)
        ]
        if entries:
            metrics.DECISION.observe((time.perf_counter() - began) / len(entries), len(entries))
        failpoint("after_decide")
        other_lane = len(batch.records) - len(entries)
        return DecidedBatch(
            batch.topic,
            batch.partition,
            batch.start,
            batch.end,
            entries,
            other_lane,
            delivered,
            placement.epoch,
            look_for,
        )

    def _mine(self, batch: Batch) -> list[tuple[SourceRecord, Trigger | Rejection]]:
        lane, categories, limit = self._lane, self._categories, self._limit_bytes
        return [
            (record, found)
            for record in batch.records
            if (found := read_trigger_for_lane(lane, record, categories, limit)) is not None
        ]

    def _entry(
        self,
        batch: Batch,
        record: SourceRecord,
        trigger: Trigger,
        known: _Known,
        form: NotificationTemplate,
        placement: Placement,
        look_for: dict[int, str],
        place: int,
    ) -> RecordOutcome:
        key, home, ways, row = known
        # Only a person whom nobody knows costs a hash: the others' bucket came with the row.
        bucket = bucket_of(trigger.user_id, self._partitions) if home is None else home.bucket
        if bucket != batch.partition:
            return repartitioned(record, batch.topic, batch.partition, bucket, trigger.user_id)
        category = self._categories.get(trigger.category)
        if category is None:
            named = ", ".join(self._categories)
            return self._dead(
                batch, record, DeadReason.UNKNOWN_CATEGORY, f"no category {trigger.category!r}; there are: {named}"
            )
        if home is None:
            return self._dead(batch, record, DeadReason.UNKNOWN_USER, "no such user has signed up")
        # Only regions write that topic: on any other, a header that tells of a way is a client's own affair.
        travel = read_forwarding_headers(record.headers) if batch.topic == FORWARDED else NOT_FORWARDED
        hop = self._hop(home, travel, placement)
        if hop is not LocalAction.SERVE:
            if isinstance(hop, Forward) and hop.check_own:
                look_for[place] = notification_id(trigger.id or "", trigger.user_id)
            return self._sent_on(batch, record, trigger.user_id, bucket, travel, hop)
        version, choices = decode_row(row)
        fates, expires_at = decide(trigger, category, ways, choices.get(category.number, 0), form.now)
        return notified(record, key, trigger, fates, expires_at, ways, version, form)

    def _hop(self, home: Location, travel: ForwardingHeaders, placement: Placement) -> LocalAction | Forward:
        if travel is not NOT_FORWARDED:
            return next_hop(home, travel, placement)
        case = home.region, home.previous, home.version
        found = self._hops.get(case)
        if found is None:
            found = self._hops[case] = next_hop(home, NOT_FORWARDED, placement)
        return found

    def _sent_on(
        self,
        batch: Batch,
        record: SourceRecord,
        user_id: str,
        bucket: int,
        travel: ForwardingHeaders,
        hop: LocalAction | Forward,
    ) -> RecordOutcome:
        if hop is LocalAction.TOO_MANY_HOPS:
            return self._dead(batch, record, DeadReason.TOO_MANY_HOPS, f"forwarded {travel.hops} times already")
        if not isinstance(hop, Forward):
            raise _PlacementPending
        headers = forwarded_headers(
            record.headers if batch.topic == FORWARDED else without_forwarding_headers(record.headers),
            self._region,
            FORWARDED,
            location_version=hop.location_version,
            epoch=hop.epoch,
            cleared_by=hop.cleared_by,
        )
        return forwarded(record, batch.topic, bucket, user_id, hop.region, headers)

    def _dead(self, batch: Batch, record: SourceRecord, reason: DeadReason, detail: str) -> RecordOutcome:
        return dead(record, batch.topic, batch.partition, reason, detail, self._most_bytes)


class _PlacementPending(Exception):
    """Nobody serves a trigger's person at this moment, or this region has not learnt yet that it does: decide the batch again."""


def conflict(entry: RecordOutcome, topic: str, partition: int) -> RecordOutcome:
    """A trigger whose id was used before for something else."""
    return dead(entry.record, topic, partition, DeadReason.ID_CONFLICT, "this id was used before with other content")
