"""Sums of one region over all parts: what was found, and one id to look at."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from notify_streams.admin.audit.repartitioned import copies
from notify_streams.roles import CHANNEL_ROLES, channel_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from notify_streams.admin.audit.region_part import RegionPart
    from notify_streams.admin.audit.snapshot import DeliverySnapshot, RegionSnapshot

#: Clocks of workers and brokers differ.
_CLOCKS_MS: Final = 1_000
_UNDER_WAY: Final = frozenset(("queued", "retrying", "deferred"))
_SENT: Final = frozenset(("sent", "delivered"))


@dataclass(slots=True)
class Ids:
    """How many, and the lowest of them."""

    count: int = 0
    example: str | None = None

    def add(self, ids: Collection[str]) -> None:
        if ids:
            self.count += len(ids)
            self.example = min(ids) if self.example is None else min(self.example, *ids)


@dataclass(slots=True)
class Sources:
    """How many source records, and the one that most records name."""

    count: int = 0
    example: str | None = None
    times: int = 0

    def add(self, found: Mapping[str, int]) -> None:
        if found:
            self.count += len(found)
            most = max(found, key=found.__getitem__)
            if found[most] > self.times:
                self.example, self.times = most, found[most]


@dataclass(slots=True)
class TopicTotals:
    """The deliveries and messages of one channel topic."""

    #: Deliveries whose message must be there.
    wanted: int = 0
    #: Of those, without one.
    missing: Ids = field(default_factory=Ids)
    #: Messages without a delivery.
    orphans: Ids = field(default_factory=Ids)
    under_way: Ids = field(default_factory=Ids)
    #: Deliveries whose message was taken, but no attempt is there.
    untried: Ids = field(default_factory=Ids)
    states: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class ProviderTotals:
    """The provider log against the deliveries."""

    sent: int = 0
    never_accepted: Ids = field(default_factory=Ids)
    under_way: Ids = field(default_factory=Ids)
    unsent: Ids = field(default_factory=Ids)
    doubled: Ids = field(default_factory=Ids)
    accepted: int = 0


@dataclass(slots=True)
class RegionTotals:
    """All parts of one region."""

    topics: dict[str, TopicTotals] = field(default_factory=lambda: {topic: TopicTotals() for topic in CHANNEL_ROLES})
    providers: ProviderTotals = field(default_factory=ProviderTotals)
    dead_letters: Sources = field(default_factory=Sources)
    forwarded: Sources = field(default_factory=Sources)
    repartitioned: Sources = field(default_factory=Sources)
    waited: int = 0
    #: By event topic: ends of deliveries.
    without_event: dict[str, Ids] = field(default_factory=dict)
    reasons: Counter[str] = field(default_factory=Counter)
    #: Channel messages and accepted calls beyond the first of a delivery.
    repeated_messages: int = 0
    repeated_calls: int = 0

    def add(self, snapshot: RegionSnapshot, part: RegionPart) -> None:
        """Add one part, each once."""
        for topic, deliveries in part.deliveries.items():
            self._add_topic(self.topics[topic], snapshot, topic, deliveries, part)
        if snapshot.has_log:
            self._add_providers(snapshot, part)
        self.dead_letters.add(_counted(snapshot, "dead", part.dead_letters))
        self.forwarded.add(_counted(snapshot, "forwarded", part.forwarded))
        found = copies(part.claims, part.astray, snapshot.extents)
        before = {one: times for one, times in found.items() if snapshot.is_before("repartitioned", one)}
        self.repartitioned.add(_counted(snapshot, "repartitioned", before))
        self.waited += len(_counted(snapshot, "waiting", dict.fromkeys(part.waited, 1)))
        self._add_events(snapshot, part)

    def _add_events(self, snapshot: RegionSnapshot, part: RegionPart) -> None:
        """From the time of the first event that Kafka keeps: before, there may have been none."""
        oldest: dict[str, int] = {}
        for (topic, _), since in snapshot.events_since.items():
            oldest[topic] = min(since, oldest.get(topic, since))
        for identity in part.ends.keys() - part.events:
            topic, bucket, at_ms = part.ends[identity]
            since_ms = snapshot.events_known_since(topic, bucket)
            if since_ms is None:
                since_ms = oldest.get(topic)
            if since_ms is not None and at_ms > since_ms + _CLOCKS_MS:
                self.without_event.setdefault(topic, Ids()).add([identity])

    def _add_topic(
        self,
        totals: TopicTotals,
        snapshot: RegionSnapshot,
        topic: str,
        deliveries: Mapping[str, DeliverySnapshot],
        part: RegionPart,
    ) -> None:
        published = part.published[topic]
        handed_over = {identity for identity, delivery in deliveries.items() if delivery.handed_over}
        buckets = {one.bucket for one in deliveries.values()}
        since = {bucket: snapshot.all_held_since(topic, bucket) for bucket in buckets}
        wanted = {identity for identity in handed_over if (one := deliveries[identity]).decided_at >= since[one.bucket]}
        totals.wanted += len(wanted)
        totals.missing.add(wanted - published.keys())
        totals.orphans.add(published.keys() - handed_over - part.expired)
        # One flush moves the ledger and stores the attempts. A growth may have parted the two: the bucket is another one then.
        under_way = {identity: one for identity, one in deliveries.items() if one.state in _UNDER_WAY}
        untried = {
            identity
            for identity, one in under_way.items()
            if one.state == "queued" and part.taken.get(identity) == one.bucket
        }
        totals.untried.add(untried)
        totals.under_way.add(under_way.keys() - untried)
        totals.states.update(one.state for one in deliveries.values())
        self.reasons.update(one.reason for one in deliveries.values() if one.reason is not None)
        self.repeated_messages += published.total() - len(published)

    def _add_providers(self, snapshot: RegionSnapshot, part: RegionPart) -> None:
        totals, accepted = self.providers, part.accepted
        known = {
            identity: one
            for topic, deliveries in part.deliveries.items()
            if channel_of(topic) in snapshot.logged_channels
            for identity, one in deliveries.items()
        }
        # A receipt may have made it failed, or retrying.
        sent = {identity for identity, one in known.items() if one.state in _SENT or one.was_accepted}
        totals.sent += len(sent)
        totals.never_accepted.add(sent - accepted.keys())
        unsent = accepted.keys() - sent - part.after_fence - part.before_restore - (part.expired - known.keys())
        under_way = {identity for identity in unsent if identity in known and known[identity].state in _UNDER_WAY}
        totals.under_way.add(under_way)
        # A call whose response was lost may have been accepted, however the delivery ended.
        uncertain = {identity for identity in unsent - under_way if identity in known and known[identity].in_doubt}
        totals.unsent.add(unsent - under_way - uncertain)
        totals.doubled.add({identity for identity, one in accepted.items() if one.is_doubled})
        calls = sum(one.times for one in accepted.values())
        totals.accepted += calls
        self.repeated_calls += calls - len(accepted)


def _counted(snapshot: RegionSnapshot, kind: str, sources: Mapping[str, int]) -> dict[str, int]:
    """Those that the ledgers have counted since their bases."""
    return {source: times for source, times in sources.items() if snapshot.is_counted(kind, source)}
