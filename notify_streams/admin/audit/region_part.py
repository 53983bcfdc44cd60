"""One part of what a region's topics, database and provider log hold."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from notify_streams.admin.audit.parts import (
    HANDED_TO,
    AcceptedRow,
    AttemptRow,
    DeliveryRow,
    EventRow,
    MessageRow,
    SourceRow,
)
from notify_streams.admin.audit.snapshot import DeliverySnapshot, ProviderAcceptance
from notify_streams.delivery.attempts import fold, later, number_of
from notify_streams.records.notification_event import event_id, event_state
from notify_streams.records.outcomes import DeliveryState
from notify_streams.roles import CHANNEL_ROLES
from notify_streams.topics import event_topic

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from notify_streams.admin.audit.parts import Parts
    from notify_streams.delivery.attempts import DeliveryStatus

#: Of an attempt: number, state of its event, time (ms).
_End = tuple[int, str, int]


@dataclass(slots=True)
class RegionPart:
    """The deliveries and source records of one part."""

    #: By channel topic, delivery id -> delivery.
    deliveries: dict[str, dict[str, DeliverySnapshot]] = field(default_factory=dict)
    #: By channel topic, delivery id -> how often it was published.
    published: dict[str, Counter[str]] = field(default_factory=dict)
    #: Deliveries whose message lies behind the fence: decided after the database was read.
    after_fence: set[str] = field(default_factory=set)
    #: Delivery id → the bucket whose ledger had passed its message when the database was read.
    taken: dict[str, int] = field(default_factory=dict)
    #: Deliveries that a provider accepted before the region was restored from backups.
    before_restore: set[str] = field(default_factory=set)
    #: By delivery id, of the `logged_channels`.
    accepted: dict[str, ProviderAcceptance] = field(default_factory=dict)
    #: Sources (topic, partition, offset) of dead letters, of forwarded records, and of triggers that waited for their user.
    dead_letters: Counter[str] = field(default_factory=Counter)
    forwarded: Counter[str] = field(default_factory=Counter)
    waited: set[str] = field(default_factory=set)
    #: Deliveries of which a message or an acceptance is there, and the notification may be deleted.
    expired: set[str] = field(default_factory=set)
    #: By region: triggers forwarded to it, each with its partition and the time (Unix seconds). `arrived`: triggers that came from any
    #: region.
    handed_to: dict[str, dict[str, tuple[int, float]]] = field(default_factory=dict)
    arrived: set[str] = field(default_factory=set)
    #: See `repartitioned`.
    astray: dict[str, int] = field(default_factory=dict)
    claims: Counter[tuple[str, int]] = field(default_factory=Counter)

    #: Event id → its topic, bucket and time (ms), of each end of a delivery. `events`: the ids that the topics have.
    ends: dict[str, tuple[str, int, int]] = field(default_factory=dict)
    events: set[str] = field(default_factory=set)

    def all_deliveries(self) -> dict[str, DeliverySnapshot]:
        """By delivery id."""
        return {identity: one for deliveries in self.deliveries.values() for identity, one in deliveries.items()}

    def add_ends(self, delivery: DeliveryRow, ends: Sequence[_End]) -> None:
        """Expect an event for each end; `ends`: those of attempts."""
        if delivery.state != DeliveryState.QUEUED:
            ends = [(0, delivery.state, int(delivery.decided_at * 1000))]
        for number, state, at_ms in ends:
            place = event_topic(delivery.events_of), delivery.bucket, at_ms
            self.ends[event_id(delivery.id, number, state)] = place

    def add_source(self, row: SourceRow) -> None:
        match row.kind:
            case "dead":
                self.dead_letters[row.source] += 1
            case "forwarded":
                self.forwarded[row.source] += 1
            case "waited":
                self.waited.add(row.source)
            case "arrived":
                self.arrived.add(row.source)
            case "astray":
                self.astray[row.source] = row.crc
            case "claim":
                self.claims[row.source, row.crc] += 1
            case handed_to:
                self.handed_to.setdefault(handed_to.removeprefix(HANDED_TO), {})[row.source] = row.partition, row.at


def read_part(parts: Parts, number: int) -> RegionPart:
    """The rows of one part."""
    part = RegionPart({topic: {} for topic in CHANNEL_ROLES}, {topic: Counter() for topic in CHANNEL_ROLES})
    statuses, ends = _attempts(parts.read(AttemptRow, number))
    for delivery in parts.read(DeliveryRow, number):
        status = statuses.get(delivery.key)
        if delivery.events_of:
            part.add_ends(delivery, ends.get(delivery.key, ()))
        part.deliveries.setdefault(delivery.topic, {})[delivery.id] = (
            DeliverySnapshot(delivery.state, 0, delivery.reason, delivery.decided_at, bucket=delivery.bucket)
            if status is None
            else DeliverySnapshot(
                status.state.value,
                status.attempts,
                status.last.reason,
                delivery.decided_at,
                status.in_doubt,
                status.was_accepted,
                delivery.bucket,
            )
        )
    for message in parts.read(MessageRow, number):
        if message.is_after_fence:
            part.after_fence.add(message.id)
        else:
            part.published[message.topic][message.id] += 1
        if message.may_have_expired:
            part.expired.add(message.id)
        if message.taken_by is not None:
            part.taken[message.id] = message.taken_by
    for line in parts.read(AcceptedRow, number):
        part.accepted.setdefault(line.id, ProviderAcceptance()).add(line.to_sha, marked=line.marked)
        if line.is_before_restore:
            part.before_restore.add(line.id)
        if line.may_have_expired:
            part.expired.add(line.id)
    part.events.update(event.id for event in parts.read(EventRow, number))
    for row in parts.read(SourceRow, number):
        part.add_source(row)
    return part


def _attempts(rows: Iterable[AttemptRow]) -> tuple[dict[bytes, DeliveryStatus], dict[bytes, list[_End]]]:
    """By delivery key: the status, and the ends that the attempts tell."""
    statuses: dict[bytes, DeliveryStatus] = {}
    ends: dict[bytes, list[_End]] = {}
    for row in rows:
        for key, one in fold([{"_id": row.id, "p": row.packed}]).items():
            if one.state is not DeliveryState.RETRYING:
                state = event_state(one.state.value, one.last.reason)
                ends.setdefault(key, []).append((number_of(row.id), state, one.last.at_ms))
            statuses[key] = later(statuses[key], one) if key in statuses else one
    return statuses, ends
