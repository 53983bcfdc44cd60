"""Compares the snapshot of one region with itself.

What lies behind the fence of the snapshot is not compared. A difference that work under way explains is marked as in flight; an idle system
has none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from notify_streams.delivery.delivery_ledger import delivery_sums_close, open_deliveries
from notify_streams.outbox.flush_plan import COUNTED, POSITIONS
from notify_streams.outbox.ledger import sums_close
from notify_streams.roles import CHANNEL_ROLES, CHANNELS, LANES, channel_of
from notify_streams.topics import DEAD_LETTERS, USER_SIGNUPS, forward_topic, trigger_topics

if TYPE_CHECKING:
    from notify_streams.admin.audit.snapshot import RegionSnapshot
    from notify_streams.settings import Settings

#: Clocks of workers and brokers differ.
_CLOCKS_MS: Final = 1_000
_UNDER_WAY: Final = frozenset(("queued", "retrying", "deferred"))
_SENT: Final = frozenset(("sent", "delivered"))


@dataclass(frozen=True, slots=True)
class Difference:
    """Two sources that disagree."""

    check: str
    region: str
    where: str
    expected: int
    found: int
    #: One id to look at.
    example: str | None
    #: True: work under way explains it; run the audit again when the system is idle.
    in_flight: bool = False
    #: True: not a failure, but counted: an id that upstream repeated across a failover (see `serving_intervals`).
    repeated: bool = False


def compare(settings: Settings, snapshot: RegionSnapshot) -> list[Difference]:
    """Every difference of one region."""
    return [
        *_ledgers(settings, snapshot),
        *_notifications(snapshot),
        *_published_records(snapshot),
        *_channels(snapshot),
        *_providers(snapshot),
        *_open_deliveries(snapshot),
        *_queued(snapshot),
        *_events(snapshot),
        *_waiting(settings, snapshot),
    ]


def summary(snapshot: RegionSnapshot) -> dict[str, Any]:
    """The report's numbers of one region."""
    routers = [one for one in snapshot.ledgers if one["role"] in LANES]
    reasons: dict[str, int] = {}
    for one in routers:
        for reason, count in one.get("dead_reasons", {}).items():
            reasons[reason] = reasons.get(reason, 0) + count
    states: dict[str, dict[str, int]] = {}
    refused: dict[str, int] = {}
    for topic, deliveries in snapshot.deliveries.items():
        counted = states.setdefault(topic, {})
        for delivery in deliveries.values():
            counted[delivery.state] = counted.get(delivery.state, 0) + 1
            if delivery.reason is not None:
                refused[delivery.reason] = refused.get(delivery.reason, 0) + 1
    return {
        "taken": sum(one["taken"] for one in routers),
        **{name: sum(one[name] for one in routers) for name in COUNTED.values()},
        "lost": sum(one["lost"] for one in routers),
        "dead_reasons": reasons,
        "deliveries": states,
        "reasons": refused,
        "outbox_rows": snapshot.outbox_rows,
        "accepted": None if snapshot.accepted is None else sum(one.times for one in snapshot.accepted.values()),
        # Channels whose deliveries could be compared with no log of their provider.
        "not_compared": [] if snapshot.accepted is None else sorted(set(CHANNELS) - snapshot.logged_channels),
    }


def _ledgers(settings: Settings, snapshot: RegionSnapshot) -> Iterator[Difference]:
    by_source = {(one["role"], one["topic"], one["partition"]): one for one in snapshot.ledgers}
    for one in snapshot.ledgers:
        if not (delivery_sums_close(one) if one["role"] in CHANNEL_ROLES else sums_close(one)):
            moved = one["first_offset"] + sum(one[name] for name in POSITIONS)
            yield Difference("ledger sums", snapshot.region, one["_id"], one["next_offset"], moved, one["_id"])
        if one["lost"]:
            yield Difference("deleted before it was read", snapshot.region, one["_id"], 0, one["lost"], one["_id"])
    triggers = set(trigger_topics(settings))
    for (topic, partition), extent in sorted(snapshot.extents.items()):
        for role in LANES if topic in triggers else (topic if topic in CHANNEL_ROLES else "registry",):
            ledger = by_source.get((role, topic, partition))
            at = extent.first if ledger is None else ledger["next_offset"]
            if at != extent.end:
                where = f"{role}:{topic}:{partition}"
                if at < extent.first:
                    yield Difference("deleted before it was read", snapshot.region, where, 0, extent.first - at, where)
                yield Difference(
                    "ledger against Kafka", snapshot.region, where, extent.end, at, f"offset {at}", at < extent.end
                )
    for topic in triggers:
        yield from _lanes_agree(snapshot, by_source, topic)


def _lanes_agree(
    snapshot: RegionSnapshot, by_source: Mapping[Any, Mapping[str, Any]], topic: str
) -> Iterator[Difference]:
    """Together the two lanes took each record exactly once."""
    for (role, name, partition), standard in by_source.items():
        if role != "standard" or name != topic:
            continue
        critical = by_source.get(("critical", topic, partition))
        if critical is None or critical["next_offset"] != standard["next_offset"]:
            continue  # one lane is behind; compared when both are at the same position
        records = standard["taken"] + standard["other_lane"]
        if standard["taken"] + critical["taken"] != records:
            found = standard["taken"] + critical["taken"]
            yield Difference("lanes", snapshot.region, f"{topic}:{partition}", records, found, f"{topic}:{partition}")


def _notifications(snapshot: RegionSnapshot) -> Iterator[Difference]:
    counted = sum(one["notified"] for one in snapshot.ledgers if one["role"] in LANES)
    if counted != snapshot.notifications:
        yield Difference(
            "ledger against notifications", snapshot.region, "notifications", counted, snapshot.notifications, None
        )


def _published_records(snapshot: RegionSnapshot) -> Iterator[Difference]:
    triggers = {topic for topic, _ in snapshot.extents} - {*CHANNEL_ROLES, USER_SIGNUPS}
    forwards = {topic for topic in snapshot.incomplete if topic.startswith(forward_topic(""))}
    for name, role, found, topics in (
        ("dead", None, snapshot.dead_letters, {DEAD_LETTERS}),
        ("forwarded", LANES, snapshot.forwarded, forwards),
        ("repartitioned", LANES, snapshot.repartitioned, triggers),
    ):
        if topics & snapshot.incomplete:
            continue
        counted = sum(one.get(name, 0) for one in snapshot.ledgers if role is None or one["role"] in role)
        if not len(found) <= counted <= len(found) + snapshot.uncertain[name]:
            waiting = 0 < counted - len(found) <= snapshot.outbox_records
            example = max(found, key=found.__getitem__, default=None)
            yield Difference(
                f"ledger against {name} records", snapshot.region, name, counted, len(found), example, waiting
            )


def _channels(snapshot: RegionSnapshot) -> Iterator[Difference]:
    for topic, deliveries in sorted(snapshot.deliveries.items()):
        published = snapshot.published[topic]
        wanted = {identity for identity, delivery in deliveries.items() if delivery.handed_over}
        if topic not in snapshot.incomplete and (missing := wanted - published.keys()):
            waiting = len(missing) <= snapshot.outbox_records
            yield Difference(
                "deliveries without a message",
                snapshot.region,
                topic,
                len(wanted),
                len(wanted) - len(missing),
                min(missing),
                waiting,
            )
        if orphans := published.keys() - wanted:
            yield Difference("messages without a delivery", snapshot.region, topic, 0, len(orphans), min(orphans))
        if waiting_ids := [identity for identity, delivery in deliveries.items() if delivery.state in _UNDER_WAY]:
            yield Difference(
                "deliveries under way", snapshot.region, topic, 0, len(waiting_ids), min(waiting_ids), True
            )


def _open_deliveries(snapshot: RegionSnapshot) -> Iterator[Difference]:
    """Each delivery whose first attempt did not end it, and no later one, has a timer.

    A first attempt is counted when those of all earlier messages are settled, too; its timer is written at once.
    """
    for one in snapshot.ledgers:
        if one["role"] not in CHANNEL_ROLES:
            continue
        expected, found = open_deliveries(one), snapshot.timers[one["role"], one["bucket"]]
        if expected != found:
            extent = snapshot.extents.get((one["role"], one["partition"]))
            not_counted = 0 if extent is None else extent.end - one["next_offset"]
            waiting = abs(expected - found) <= not_counted
            yield Difference("ledger against timers", snapshot.region, one["_id"], expected, found, one["_id"], waiting)


def _queued(snapshot: RegionSnapshot) -> Iterator[Difference]:
    """The channel roles took each delivery that the routers queued."""
    for topic in CHANNEL_ROLES:
        queued = sum(one.get("queued", {}).get(topic, 0) for one in snapshot.ledgers if one["role"] in LANES)
        mine = [one for one in snapshot.ledgers if one["role"] == topic]
        fresh = sum(one["fresh"] for one in mine)
        if queued != fresh:
            ends = sum(extent.end for (name, _), extent in snapshot.extents.items() if name == topic)
            unread = ends - sum(one["next_offset"] for one in mine)
            waiting = 0 < queued - fresh <= unread + snapshot.outbox_records
            yield Difference("queued against delivered", snapshot.region, topic, queued, fresh, None, waiting)


def _events(snapshot: RegionSnapshot) -> Iterator[Difference]:
    """Each end of a delivery has an event, from the time of the first event that Kafka keeps: before, there may have been none."""
    oldest: dict[str, int] = {}
    for (topic, _), since in snapshot.events_since.items():
        oldest[topic] = min(since, oldest.get(topic, since))
    missing: dict[str, list[str]] = {}
    for identity, (topic, bucket, at_ms) in snapshot.without_event.items():
        since_ms = snapshot.events_since.get((topic, bucket), oldest.get(topic))
        if since_ms is not None and at_ms > since_ms + _CLOCKS_MS:
            missing.setdefault(topic, []).append(identity)
    for topic, found in sorted(missing.items()):
        waiting = len(found) <= snapshot.outbox_records
        yield Difference("ends without an event", snapshot.region, topic, 0, len(found), min(found), waiting)


def _waiting(settings: Settings, snapshot: RegionSnapshot) -> Iterator[Difference]:
    """Each trigger that waited for its user has a timer, or was published again. A client may write the header, so more are no difference."""
    if snapshot.incomplete.intersection(trigger_topics(settings)):
        return
    counted = sum(one["waiting"] for one in snapshot.ledgers if one["role"] in LANES)
    timers = sum(count for (role, _), count in snapshot.timers.items() if role in LANES)
    if counted > timers + len(snapshot.waited):
        yield Difference(
            "ledger against waiting triggers", snapshot.region, "triggers", counted, timers + len(snapshot.waited), None
        )


def _providers(snapshot: RegionSnapshot) -> Iterator[Difference]:
    if snapshot.accepted is None:
        return
    known = {
        identity: one
        for topic, deliveries in snapshot.deliveries.items()
        if channel_of(topic) in snapshot.logged_channels
        for identity, one in deliveries.items()
    }
    # A receipt may have made it failed, or retrying.
    sent = {identity for identity, one in known.items() if one.state in _SENT or one.was_accepted}
    yield from _difference("sent but never accepted", snapshot, len(sent), sent - snapshot.accepted.keys())
    unsent = snapshot.accepted.keys() - sent - snapshot.after_fence
    under_way = {identity for identity in unsent if identity in known and known[identity].state in _UNDER_WAY}
    if under_way:
        yield Difference(
            "accepted, state under way", snapshot.region, "providers", 0, len(under_way), min(under_way), True
        )
    # A call whose response was lost may have been accepted, however the delivery ended.
    uncertain = {identity for identity in unsent - under_way if identity in known and known[identity].in_doubt}
    yield from _difference("accepted but not sent", snapshot, 0, unsent - under_way - uncertain)
    doubled = {identity for identity, one in snapshot.accepted.items() if one.is_doubled}
    yield from _difference("accepted twice without a mark", snapshot, 0, doubled)


def _difference(check: str, snapshot: RegionSnapshot, expected: int, wrong: Iterable[str]) -> Iterator[Difference]:
    found = list(wrong)
    if found:
        yield Difference(check, snapshot.region, "providers", expected, abs(expected - len(found)), min(found))
