"""Facts of a region in, differences out. A difference that work under way explains is named as in flight, and is none on a quiet system."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from notify_streams.outbox.flush_plan import COUNTED
from notify_streams.outbox.ledger import sums_close
from notify_streams.roles import LANES
from notify_streams.topics import trigger_topics

if TYPE_CHECKING:
    from notify_streams.admin.audit.snapshot import RegionSnapshot
    from notify_streams.settings import Settings

_UNDER_WAY: Final = frozenset(("queued", "sending", "deferred"))
_SENT: Final = frozenset(("sent", "delivered"))


@dataclass(frozen=True, slots=True)
class Difference:
    """Two places that should say the same and do not."""

    check: str
    region: str
    where: str
    expected: int
    found: int
    #: One id to look at.
    example: str | None
    #: True: work that is under way explains it; look again when the system is quiet.
    in_flight: bool = False
    #: True: no failure, but counted: an id that upstream repeated across a change of who serves (see `serving`).
    repeated: bool = False


def compare(settings: Settings, facts: RegionSnapshot) -> list[Difference]:
    """Every difference of one region."""
    return [
        *_ledgers(settings, facts),
        *_notifications(facts),
        *_handed_on(facts),
        *_channels(facts),
        *_providers(facts),
    ]


def summary(facts: RegionSnapshot) -> dict[str, Any]:
    """A region in numbers."""
    routers = [one for one in facts.ledgers if one["role"] in LANES]
    reasons: dict[str, int] = {}
    for one in routers:
        for reason, count in one.get("dead_reasons", {}).items():
            reasons[reason] = reasons.get(reason, 0) + count
    states: dict[str, dict[str, int]] = {}
    refused: dict[str, int] = {}
    for topic, deliveries in facts.deliveries.items():
        counted = states.setdefault(topic, {})
        for delivery in deliveries.values():
            counted[delivery.state] = counted.get(delivery.state, 0) + 1
            if delivery.reason is not None:
                refused[delivery.reason] = refused.get(delivery.reason, 0) + 1
    return {
        "taken": sum(one["taken"] for one in routers),
        **{name: sum(one[name] for one in routers) for name in COUNTED.values()},
        "dead_reasons": reasons,
        "deliveries": states,
        "reasons": refused,
        "outbox_rows": facts.outbox_rows,
        "accepted": None if facts.accepted is None else sum(one.times for one in facts.accepted.values()),
    }


def _ledgers(settings: Settings, facts: RegionSnapshot) -> Iterator[Difference]:
    by_source = {(one["role"], one["topic"], one["partition"]): one for one in facts.ledgers}
    for one in facts.ledgers:
        if not sums_close(one):
            moved = one["first_offset"] + one["taken"] + one["other_lane"] + one["holes"]
            yield Difference("ledger sums", facts.region, one["_id"], one["next_offset"], moved, one["_id"])
    triggers = set(trigger_topics(settings))
    for (topic, partition), extent in sorted(facts.extents.items()):
        for role in LANES if topic in triggers else ("registry",):
            ledger = by_source.get((role, topic, partition))
            at = extent.first if ledger is None else ledger["next_offset"]
            if at != extent.end:
                where = f"{role}:{topic}:{partition}"
                yield Difference(
                    "ledger against Kafka", facts.region, where, extent.end, at, f"offset {at}", at < extent.end
                )
    for topic in triggers:
        yield from _lanes_agree(facts, by_source, topic)


def _lanes_agree(facts: RegionSnapshot, by_source: Mapping[Any, Mapping[str, Any]], topic: str) -> Iterator[Difference]:
    """What one lane left to the other, the other took: neither forgot a record, neither took one that was not its own."""
    for (role, name, partition), standard in by_source.items():
        if role != "standard" or name != topic:
            continue
        critical = by_source.get(("critical", topic, partition))
        if critical is None or critical["next_offset"] != standard["next_offset"]:
            continue  # one is behind: compared when both are there
        records = standard["taken"] + standard["other_lane"]
        if standard["taken"] + critical["taken"] != records:
            found = standard["taken"] + critical["taken"]
            yield Difference("lanes", facts.region, f"{topic}:{partition}", records, found, f"{topic}:{partition}")


def _notifications(facts: RegionSnapshot) -> Iterator[Difference]:
    counted = sum(one["notified"] for one in facts.ledgers if one["role"] in LANES)
    if counted != facts.notifications:
        yield Difference(
            "ledger against notifications", facts.region, "notifications", counted, facts.notifications, None
        )


def _handed_on(facts: RegionSnapshot) -> Iterator[Difference]:
    for name, role, found in (
        ("dead", None, facts.dead_letters),
        ("forwarded", LANES, facts.forwarded),
        ("repartitioned", LANES, facts.repartitioned),
    ):
        counted = sum(one[name] for one in facts.ledgers if role is None or one["role"] in role)
        if counted != len(found):
            waiting = 0 < counted - len(found) <= facts.outbox_records
            example = max(found, key=found.__getitem__, default=None)
            yield Difference(
                f"ledger against {name} records", facts.region, name, counted, len(found), example, waiting
            )


def _channels(facts: RegionSnapshot) -> Iterator[Difference]:
    for topic, deliveries in sorted(facts.deliveries.items()):
        published = facts.published[topic]
        wanted = {identity for identity, delivery in deliveries.items() if delivery.handed_over}
        if missing := wanted - published.keys():
            waiting = len(missing) <= facts.outbox_records
            yield Difference(
                "deliveries without a message",
                facts.region,
                topic,
                len(wanted),
                len(wanted) - len(missing),
                min(missing),
                waiting,
            )
        if orphans := published.keys() - wanted:
            yield Difference("messages without a delivery", facts.region, topic, 0, len(orphans), min(orphans))
        if waiting_ids := [identity for identity, delivery in deliveries.items() if delivery.state in _UNDER_WAY]:
            yield Difference("deliveries under way", facts.region, topic, 0, len(waiting_ids), min(waiting_ids), True)


def _providers(facts: RegionSnapshot) -> Iterator[Difference]:
    if facts.accepted is None:
        return
    known = {identity: one for deliveries in facts.deliveries.values() for identity, one in deliveries.items()}
    sent = {identity for identity, one in known.items() if one.state in _SENT}
    yield from _one("sent but never accepted", facts, len(sent), sent - facts.accepted.keys())
    unsent = facts.accepted.keys() - sent
    under_way = {identity for identity in unsent if identity in known and known[identity].state in _UNDER_WAY}
    if under_way:
        yield Difference(
            "accepted, state under way", facts.region, "providers", 0, len(under_way), min(under_way), True
        )
    # A call whose answer was lost may end as failed although the provider took it: it is marked, and counted apart.
    uncertain = {identity for identity in unsent - under_way if identity in known and known[identity].state == "failed"}
    yield from _one("accepted but not sent", facts, 0, unsent - under_way - uncertain)
    doubled = {identity for identity, one in facts.accepted.items() if one.times - one.marked > 1}
    yield from _one("accepted twice without a mark", facts, 0, doubled)


def _one(check: str, facts: RegionSnapshot, expected: int, wrong: Iterable[str]) -> Iterator[Difference]:
    found = list(wrong)
    if found:
        yield Difference(check, facts.region, "providers", expected, abs(expected - len(found)), min(found))
