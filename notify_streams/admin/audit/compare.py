"""Compares the snapshot of one region with itself.

What lies behind the fence of the snapshot is not compared. A difference that work under way explains is marked as in flight; an idle system
has none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from notify_streams.admin.audit.sealed import KINDS
from notify_streams.delivery.delivery_ledger import delivery_sums_close, open_deliveries
from notify_streams.outbox.flush_plan import COUNTED, POSITIONS
from notify_streams.outbox.ledger import sums_close
from notify_streams.roles import CHANNEL_ROLES, CHANNELS, LANES
from notify_streams.stores.mongo import NOTIFICATIONS
from notify_streams.topics import trigger_topics

#: The kind of `sealed.KINDS` that documents are compared with.
NOTIFIED: Final = KINDS[0]

if TYPE_CHECKING:
    from notify_streams.admin.audit.snapshot import RegionSnapshot
    from notify_streams.admin.audit.totals import RegionTotals
    from notify_streams.settings import Settings


_NOT_CLOSED: Final = {"at": None, "taken": 0, "other_lane": 0}


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


def compare(settings: Settings, snapshot: RegionSnapshot, totals: RegionTotals) -> list[Difference]:
    """Every difference of one region."""
    return [
        *_ledgers(settings, snapshot),
        *_sealed(snapshot),
        *_notifications(snapshot),
        *_published_records(snapshot, totals),
        *_channels(snapshot, totals),
        *_invalid_log_lines(snapshot),
        *_providers(snapshot, totals),
        *_open_deliveries(snapshot),
        *_queued(snapshot),
        *_events(snapshot, totals),
        *_waiting(snapshot, totals),
    ]


def summary(snapshot: RegionSnapshot, totals: RegionTotals) -> dict[str, Any]:
    """The report's numbers of one region."""
    routers = [one for one in snapshot.ledgers if one["role"] in LANES]
    reasons: dict[str, int] = {}
    for one in routers:
        for reason, count in one.get("dead_reasons", {}).items():
            reasons[reason] = reasons.get(reason, 0) + count
    since: dict[str, float] = {}
    for (topic, _), at in snapshot.held_since.items():
        since[topic] = max(at, since.get(topic, 0.0))
    if any(kind == NOTIFIED for kind, _ in snapshot.sealed.bases):
        since[NOTIFICATIONS] = snapshot.last_kept_since()
    return {
        "taken": sum(one["taken"] for one in routers),
        **{name: sum(one[name] for one in routers) for name in COUNTED.values()},
        "lost": sum(one["lost"] for one in routers),
        "dead_reasons": reasons,
        "deliveries": {topic: dict(found.states) for topic, found in totals.topics.items()},
        "reasons": dict(totals.reasons),
        "outbox_rows": snapshot.outbox_rows,
        "accepted": totals.providers.accepted if snapshot.has_log else None,
        # Channels whose deliveries could be compared with no log of their provider.
        "not_compared": sorted(set(CHANNELS) - snapshot.logged_channels) if snapshot.has_log else [],
        # What was deleted since: topics by retention, notifications by their time to live.
        "compared_from": {
            name: datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds") for name, at in sorted(since.items())
        },
        # What each restore from backups found, and what was lost.
        "restores": [
            {"at": one["began_at"].isoformat(timespec="seconds")}
            | one["found"]["positions"]
            | {"lost": one["found"]["lost"]}
            for one in snapshot.restores
        ],
        "sealed": snapshot.sealed.summary(),
        "repeated_messages": totals.repeated_messages,
        "repeated_calls": totals.repeated_calls,
    }


def _ledgers(settings: Settings, snapshot: RegionSnapshot) -> Iterator[Difference]:
    by_source = {(one["role"], one["topic"], one["partition"]): one for one in snapshot.ledgers}
    for one in snapshot.ledgers:
        if not (delivery_sums_close(one) if one["role"] in CHANNEL_ROLES else sums_close(one)):
            moved = one["first_offset"] + sum(one.get(name, 0) for name in POSITIONS)
            yield Difference("ledger sums", snapshot.region, one["_id"], one["next_offset"], moved, one["_id"])
        if one["lost"]:
            yield Difference("deleted before it was read", snapshot.region, one["_id"], 0, one["lost"], one["_id"])
    triggers = set(trigger_topics(settings))
    for (topic, partition), extent in sorted(snapshot.extents.items()):
        for role in LANES if topic in triggers else (topic if topic in CHANNEL_ROLES else "registry",):
            ledger = by_source.get((role, topic, partition))
            at = extent.first if ledger is None else ledger["next_offset"]
            where = f"{role}:{topic}:{partition}"
            # A worker opens the ledger before it reads: one that has committed had a ledger.
            if ledger is None and (committed := snapshot.committed.get((role, topic, partition), 0)) > 0:
                yield Difference("committed without a ledger", snapshot.region, where, committed, 0, where)
            if at != extent.end:
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
        # A restore from backups lets both go on at the same position: what was before is not the same in both.
        closed, other = (one.get("closed", _NOT_CLOSED) for one in (standard, critical))
        if closed["at"] != other["at"]:
            continue
        records = standard["taken"] + standard["other_lane"] - closed["taken"] - closed["other_lane"]
        found = standard["taken"] + critical["taken"] - closed["taken"] - other["taken"]
        if found != records:
            yield Difference("lanes", snapshot.region, f"{topic}:{partition}", records, found, f"{topic}:{partition}")


def _sealed(snapshot: RegionSnapshot) -> Iterator[Difference]:
    for one in snapshot.sealed.wrong:
        example = one.where.partition(" ")[0]
        yield Difference("sealed sums", snapshot.region, one.where, one.expected, one.found, example)


def _notifications(snapshot: RegionSnapshot) -> Iterator[Difference]:
    """Each notification that a router counted is there, in the periods of which none may have been deleted."""
    counted = sum(snapshot.sealed.since_base(NOTIFIED, one) for one in snapshot.ledgers if one["role"] in LANES)
    found = snapshot.notifications
    if found != counted:
        yield Difference("ledger against notifications", snapshot.region, "notifications", counted, found, None)


def _published_records(snapshot: RegionSnapshot, totals: RegionTotals) -> Iterator[Difference]:
    for name, role, found in (
        ("dead", None, totals.dead_letters),
        ("forwarded", LANES, totals.forwarded),
        ("repartitioned", LANES, totals.repartitioned),
    ):
        ledgers = [one for one in snapshot.ledgers if role is None or one["role"] in role]
        counted = sum(snapshot.sealed.since_base(name, one) for one in ledgers)
        if not found.count <= counted <= found.count + snapshot.uncertain[name]:
            waiting = 0 < counted - found.count <= snapshot.outbox_records
            yield Difference(
                f"ledger against {name} records", snapshot.region, name, counted, found.count, found.example, waiting
            )


def _channels(snapshot: RegionSnapshot, totals: RegionTotals) -> Iterator[Difference]:
    for topic, found in sorted(totals.topics.items()):
        missing, orphans, under_way, untried = found.missing, found.orphans, found.under_way, found.untried
        if missing.count:
            waiting = missing.count <= snapshot.outbox_records
            there = found.wanted - missing.count
            yield Difference(
                "deliveries without a message", snapshot.region, topic, found.wanted, there, missing.example, waiting
            )
        if orphans.count:
            yield Difference("messages without a delivery", snapshot.region, topic, 0, orphans.count, orphans.example)
        if untried.count:
            yield Difference("taken without an attempt", snapshot.region, topic, 0, untried.count, untried.example)
        if under_way.count:
            yield Difference(
                "deliveries under way", snapshot.region, topic, 0, under_way.count, under_way.example, True
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


def _events(snapshot: RegionSnapshot, totals: RegionTotals) -> Iterator[Difference]:
    """Each end of a delivery has an event."""
    for topic, found in sorted(totals.without_event.items()):
        waiting = found.count <= snapshot.outbox_records
        yield Difference("ends without an event", snapshot.region, topic, 0, found.count, found.example, waiting)


def _waiting(snapshot: RegionSnapshot, totals: RegionTotals) -> Iterator[Difference]:
    """Each trigger that waited for its user has a timer, or was published again. A client may write the header, so more are no difference."""
    counted = sum(snapshot.sealed.since_base("waiting", one) for one in snapshot.ledgers if one["role"] in LANES)
    found = totals.waited + sum(count for (role, _), count in snapshot.timers.items() if role in LANES)
    if counted > found + snapshot.uncertain["waiting"]:
        yield Difference("ledger against waiting triggers", snapshot.region, "triggers", counted, found, None)


def _invalid_log_lines(snapshot: RegionSnapshot) -> Iterator[Difference]:
    """Any of them may have been an acceptance, so what they said can't be proved."""
    if snapshot.invalid_log_lines:
        example = f"the line that ends at byte {snapshot.first_invalid_at}"
        yield Difference(
            "invalid lines in the provider log", snapshot.region, "providers", 0, snapshot.invalid_log_lines, example
        )


def _providers(snapshot: RegionSnapshot, totals: RegionTotals) -> Iterator[Difference]:
    found = totals.providers
    for check, expected, ids in (
        ("sent but never accepted", found.sent, found.never_accepted),
        ("accepted, state under way", 0, found.under_way),
        ("accepted but not sent", 0, found.unsent),
        ("accepted twice without a mark", 0, found.doubled),
    ):
        if ids.count:
            there = abs(expected - ids.count)
            yield Difference(check, snapshot.region, "providers", expected, there, ids.example, ids is found.under_way)
