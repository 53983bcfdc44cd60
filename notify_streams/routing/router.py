"""Decides batches of triggers: one outcome for each."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from notify_streams import metrics
from notify_streams.failpoints import failpoint
from notify_streams.outbox.decided_batch import DecidedBatch, RecordOutcome
from notify_streams.preferences.choices import in_whole_ms
from notify_streams.preferences.row_codec import cached_decode_row
from notify_streams.records.ids import notification_id
from notify_streams.records.outcomes import DeadReason
from notify_streams.records.partitioner import bucket_of
from notify_streams.records.periods import end_of_period
from notify_streams.records.trigger import Rejection, missing_names
from notify_streams.regions.forwarding.headers import (
    EPOCH,
    NOT_FORWARDED,
    forwarded_headers,
    read_forwarding_headers,
    refuse_header,
    without_forwarding_headers,
)
from notify_streams.regions.forwarding.next_hop import Forward, LocalAction, next_hop
from notify_streams.retry import RetryPolicy
from notify_streams.routing.decision import decide, decision_input, expiry_of
from notify_streams.routing.decision_events import DecisionEvents
from notify_streams.routing.lane import read_trigger_for_lane
from notify_streams.routing.notification_codec import NotificationEncoder
from notify_streams.routing.outcome_records import dead_letter, forwarded, notified, repartitioned
from notify_streams.routing.waiting_triggers import next_look, waiting
from notify_streams.stores.shard_clocks import own_now
from notify_streams.topics import FORWARDED, system_of
from notify_streams.tracing.traced_record import traceparent_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from notify_streams.preferences.categories import Categories
    from notify_streams.records.batch import AckHandle, Batch, SourceRecord
    from notify_streams.records.trigger import Trigger
    from notify_streams.records.user_records import ContactRow
    from notify_streams.regions.failover.placement import Placement
    from notify_streams.regions.forwarding.headers import ForwardingHeaders
    from notify_streams.regions.locations import Location
    from notify_streams.roles import Channel, Lane
    from notify_streams.routing.decision import ChannelDecisions, DecisionInput
    from notify_streams.routing.recipient_lookup import RecipientLookup
    from notify_streams.routing.trigger_traces import TriggerTraces
    from notify_streams.settings import Settings
    from notify_streams.templates.catalog import Templates

    #: What a worker knows of one recipient: user id, location, contact addresses, preference row.
    _Recipient = tuple[bytes, Location | None, ContactRow | None, bytes]

_RETRY: Final = RetryPolicy("router.preferences", first_s=0.05, max_s=2.0)
#: Entries of a few hundred bytes. Hardly reached: a decision's input has few different values.
_CACHED_DECISIONS: Final = 10_000
#: A region's users have few location versions, but a client chooses the versions of its users.
_CACHED_HOPS: Final = 10_000


#: Of a forwarded trigger without the header that names its system: only regions write there, and they set it.
_UNKNOWN_SYSTEM: Final = "forwarded"
#: How long a record may wait for an epoch that only its header names. Regions copy changes every 2 s.
_MAX_BEHIND_S: Final = 60.0


class PlacementSource(Protocol):
    """The current placement (`regions.failover.placement_follower`); set before the first batch is read."""

    placement: Placement | None

    async def changed(self, epoch: int) -> Placement:
        """Wait for a placement of a later epoch than `epoch`."""
        ...


@dataclass(slots=True)
class _BatchContext:
    """What the records of one batch share."""

    batch: Batch
    placement: Placement
    encoder: NotificationEncoder
    #: See `topics.system_of`.
    system: str | None
    #: Whether some of its records are traced.
    is_traced: bool
    #: See `DecidedBatch.duplicate_candidates`.
    duplicate_candidates: dict[int, str] = field(default_factory=dict)


class Router:
    """Decides the batches of one lane in one region."""

    def __init__(
        self,
        settings: Settings,
        categories: Categories,
        templates: Templates,
        lane: Lane,
        recipients: RecipientLookup,
        placements: PlacementSource,
        max_behind_s: float = _MAX_BEHIND_S,
        traces: TriggerTraces | None = None,
        now: Callable[[int], datetime] = own_now,
    ) -> None:
        """`traces`: None: no trigger is traced. `now`: the time for the decisions of a bucket, in whole milliseconds."""
        self._now = now
        self._region = settings.region
        self._partitions = settings.partitions
        self._max_trigger_bytes = settings.max_trigger_bytes
        self._user_wait_s = settings.user_wait_s
        self._period_s = settings.retention.period_s
        self._max_record_bytes = settings.max_record_bytes
        self._categories = categories
        self._lane: Lane = lane
        self._recipients = recipients
        self._placements = placements
        self._max_behind_s = max_behind_s
        self._traces = traces
        self._events = DecisionEvents(settings)
        #: The placement under which epochs of headers are ignored: no control log confirmed a later one in time.
        self._ignores_epochs: Placement | None = None

        @lru_cache(_CACHED_DECISIONS)
        def cached_decide(given: DecisionInput) -> ChannelDecisions:
            return decide(given, categories[given.category])

        @lru_cache(_CACHED_DECISIONS)
        def cached_required(template: str, category: str, channels: tuple[Channel, ...] | None) -> frozenset[str]:
            allowed = categories[category].channels
            return templates.required(template, allowed if channels is None else [*filter(allowed.get, channels)])

        self._decide = cached_decide
        self._required = cached_required
        #: `next_hop` under `_hops_placement` for triggers that were not forwarded, by region, previous region and version.
        self._hops: dict[tuple[str, str | None, int], LocalAction | Forward] = {}
        self._hops_placement: Placement | None = None

    async def decide_batch(self, batch: Batch, ack_handle: AckHandle) -> DecidedBatch:
        """Give each record of this lane an outcome. A record that cannot be processed becomes a dead letter; none raises an error.

        Retries without limit while preferences cannot be read. During a failover it waits until a region serves the recipients; for an
        epoch that only a record's header names, it waits `max_behind_s` once, then decides by its own control log.
        """
        failpoint("after_fetch")
        while True:
            placement = self._placements.placement
            assert placement is not None, "the placement is loaded before the first batch is read"
            try:
                return await self._decide_under(placement, batch, ack_handle)
            except _PlacementPending as pending:
                try:
                    async with asyncio.timeout(self._max_behind_s if pending.behind else None):
                        await self._placements.changed(placement.epoch)
                except TimeoutError:
                    refuse_header(EPOCH)
                    self._ignores_epochs = placement

    async def _decide_under(self, placement: Placement, batch: Batch, ack_handle: AckHandle) -> DecidedBatch:
        started = time.perf_counter()
        triggers: Sequence[tuple[SourceRecord, Trigger | Rejection]] = self._triggers_of_lane(batch)
        traced = None
        if self._traces is not None:
            triggers, traced = self._traces.begin(triggers)
        user_ids = [trigger.user_id for _, trigger in triggers if not isinstance(trigger, Rejection)]
        rows = await _RETRY.call(self._recipients.preference_rows, batch.partition, user_ids)
        keys = [user_id.encode() for user_id in user_ids]
        locations = self._recipients.locations(batch.partition, keys)
        recipients = zip(keys, locations, self._recipients.addresses(batch.partition, keys), rows, strict=True)
        now = in_whole_ms(self._now(batch.partition))  # MongoDB keeps milliseconds; channel messages have the same time
        end = end_of_period(now, self._period_s)
        encoder = NotificationEncoder(batch.partition, self._region, self._lane == "critical", now, end, self._period_s)
        context = _BatchContext(batch, placement, encoder, system_of(batch.topic), traced is not None)
        outcomes = [
            self._dead_letter(batch, record, trigger.reason, trigger.detail)
            if isinstance(trigger, Rejection)
            else self._outcome(context, index, record, trigger, next(recipients))
            for index, (record, trigger) in enumerate(triggers)
        ]
        if outcomes:
            metrics.DECISION.observe((time.perf_counter() - started) / len(outcomes), len(outcomes))
        if traced is not None:
            traced.ended_ns = time.time_ns()
        failpoint("after_decide")
        return DecidedBatch(
            batch.topic,
            batch.partition,
            batch.start,
            batch.end,
            outcomes,
            len(batch.records) - len(outcomes),
            ack_handle,
            placement.epoch,
            context.duplicate_candidates,
            batch.lost,
            end,
            traced,
        )

    def _triggers_of_lane(self, batch: Batch) -> list[tuple[SourceRecord, Trigger | Rejection]]:
        lane, categories, max_bytes = self._lane, self._categories, self._max_trigger_bytes
        system = system_of(batch.topic)
        return [
            (record, trigger)
            for record in batch.records
            if (trigger := read_trigger_for_lane(lane, record, system, categories, max_bytes)) is not None
        ]

    def _outcome(
        self, context: _BatchContext, index: int, record: SourceRecord, trigger: Trigger, recipient: _Recipient
    ) -> RecordOutcome:
        key, location, addresses, row = recipient
        batch, encoder = context.batch, context.encoder
        # Hash the user id only for an unknown user: a location has the bucket.
        bucket = bucket_of(trigger.user_id, self._partitions) if location is None else location.bucket
        if bucket != batch.partition:
            return repartitioned(record, batch.topic, batch.partition, bucket, trigger.user_id)
        category = self._categories.get(trigger.category)
        if category is None:
            detail = f"no category {trigger.category!r}; there are: {', '.join(self._categories)}"
            return self._dead_letter(batch, record, DeadReason.UNKNOWN_CATEGORY, detail)
        if not category.is_open_to(context.system):
            detail = f"category {trigger.category!r} is not open to the system {context.system!r}"
            return self._dead_letter(batch, record, DeadReason.CATEGORY_NOT_ALLOWED, detail)
        if trigger.template is not None:
            if trigger.template not in category.templates:
                detail = f"no template {trigger.template!r}; there are: {', '.join(category.templates)}"
                return self._dead_letter(batch, record, DeadReason.UNKNOWN_TEMPLATE, detail)
            required = self._required(trigger.template, trigger.category, trigger.channels)
            if required and (missing := missing_names(trigger.data, required)):
                detail = f"template {trigger.template!r} needs {', '.join(missing)} in `data`"
                return self._dead_letter(batch, record, DeadReason.MISSING_VARIABLE, detail)
        if location is None:
            return self._waiting(context, record) or self._dead_letter(
                batch, record, DeadReason.UNKNOWN_USER, "no such user has signed up"
            )
        # Only regions write `triggers.forwarded`. On any other topic a client may have set these headers.
        forwarding = read_forwarding_headers(record.headers) if batch.topic == FORWARDED else NOT_FORWARDED
        system = context.system or forwarding.system or _UNKNOWN_SYSTEM
        hop = self._next_hop(location, forwarding, context.placement)
        if hop is LocalAction.BEHIND and context.placement is self._ignores_epochs:
            hop = next_hop(location, msgspec.structs.replace(forwarding, epoch=0), context.placement)
        if hop is not LocalAction.SERVE:
            return self._not_served_here(context, index, record, system, trigger, forwarding, hop)
        if addresses is None and self._recipients.may_get_contacts(trigger.user_id):
            wait = self._waiting(context, record)
            if wait is not None:
                return wait
        version, choice_bits = cached_decode_row(row)
        expires_at = expiry_of(trigger, category, encoder.now)
        given = decision_input(trigger, choice_bits.get(category.number, 0), addresses, expires_at <= encoder.now)
        decisions = self._decide(given)
        outcome = notified(
            record,
            batch.topic,
            key,
            system,
            trigger,
            decisions,
            expires_at,
            addresses,
            version,
            encoder,
            traceparent_of(record) if context.is_traced else "",
        )
        self._events.add_decisions(outcome, system, trigger, decisions, batch.partition, key, encoder.now)
        return outcome

    def _waiting(self, context: _BatchContext, record: SourceRecord) -> RecordOutcome | None:
        """The outcome of a record that is read again later; None if it has waited long enough."""
        due_at = next_look(record, context.encoder.now, self._user_wait_s)
        batch = context.batch
        return None if due_at is None else waiting(record, self._lane, batch.topic, batch.partition, due_at)

    def _next_hop(
        self, location: Location, forwarding: ForwardingHeaders, placement: Placement
    ) -> LocalAction | Forward:
        if forwarding is not NOT_FORWARDED:
            return next_hop(location, forwarding, placement)
        if placement is not self._hops_placement or len(self._hops) >= _CACHED_HOPS:
            self._hops, self._hops_placement = {}, placement
        key = location.region, location.previous, location.version
        hop = self._hops.get(key)
        if hop is None:
            hop = self._hops[key] = next_hop(location, NOT_FORWARDED, placement)
        return hop

    def _not_served_here(
        self,
        context: _BatchContext,
        index: int,
        record: SourceRecord,
        system: str,
        trigger: Trigger,
        forwarding: ForwardingHeaders,
        hop: LocalAction | Forward,
    ) -> RecordOutcome:
        batch = context.batch
        if hop is LocalAction.TOO_MANY_HOPS:
            detail = f"forwarded {forwarding.hops} times already"
            return self._dead_letter(batch, record, DeadReason.TOO_MANY_HOPS, detail)
        if not isinstance(hop, Forward):
            raise _PlacementPending(behind=hop is LocalAction.BEHIND)
        if hop.check_own:
            context.duplicate_candidates[index] = notification_id(
                trigger.id or "", trigger.user_id, system, trigger.source or ""
            )
        headers = forwarded_headers(
            record.headers if batch.topic == FORWARDED else without_forwarding_headers(record.headers),
            self._region,
            FORWARDED,
            location_version=hop.location_version,
            epoch=hop.epoch,
            cleared_by=hop.cleared_by,
            system=system,
        )
        return forwarded(record, batch.topic, batch.partition, trigger.user_id, hop.region, headers)

    def _dead_letter(self, batch: Batch, record: SourceRecord, reason: DeadReason, detail: str) -> RecordOutcome:
        outcome = dead_letter(record, batch.topic, batch.partition, reason, detail, self._max_record_bytes)
        return self._events.add_dead_letter(outcome, batch.topic, batch.partition)


class _PlacementPending(Exception):
    """No region serves a recipient now, or this region has not read yet that it does: the batch must be decided again."""

    def __init__(self, *, behind: bool) -> None:
        super().__init__()
        #: Only a record's header says so.
        self.behind = behind
