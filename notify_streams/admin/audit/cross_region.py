"""Facts of several regions in, differences between them out: nothing is lost on the way, and nobody is notified from two regions."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

from notify_streams.admin.audit.compare import Difference
from notify_streams.admin.audit.serving_intervals import each_served, turns

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from notify_streams.admin.audit.snapshot import DeliverySnapshot, RegionSnapshot


def compare_regions(regions: Mapping[str, RegionSnapshot]) -> Iterator[Difference]:
    """Every difference between these regions; of a region that was not looked at, nothing is said."""
    for facts in regions.values():
        yield from _arrived(facts, regions)
    for one, other in combinations(regions.values(), 2):
        yield from _twice(one, other)


def _arrived(facts: RegionSnapshot, regions: Mapping[str, RegionSnapshot]) -> Iterator[Difference]:
    """What a region handed over, the other one has; the other's own books tell what became of it."""
    for region, handed in sorted(facts.handed_to.items()):
        if region not in regions:
            continue
        missing = handed - regions[region].arrived
        if missing:
            waiting = len(missing) <= facts.waiting_for.get(region, 0)
            where = f"{facts.region} -> {region}"
            found = len(handed) - len(missing)
            yield Difference(
                "forwarded and not arrived", facts.region, where, len(handed), found, min(missing), waiting
            )


def _twice(one: RegionSnapshot, other: RegionSnapshot) -> Iterator[Difference]:
    """A delivery id contains the notification's: one that two regions have is a person notified by both."""
    where = f"{one.region} and {other.region}"
    mine, theirs = _decided(one), _decided(other)
    decided = mine.keys() & theirs.keys()
    seats = turns((*one.changes, *other.changes))
    repeated = {
        identity
        for identity in decided
        if each_served(seats, (one.region, mine[identity].decided_at), (other.region, theirs[identity].decided_at))
    }
    if decided - repeated:
        yield Difference(
            "notified in two regions", one.region, where, 0, len(decided - repeated), min(decided - repeated)
        )
    if repeated:
        yield Difference(
            "repeated across a change of who serves", one.region, where, 0, len(repeated), min(repeated), repeated=True
        )
    if one.accepted is not None and other.accepted is not None:
        sent = (one.accepted.keys() & other.accepted.keys()) - repeated
        if sent:
            yield Difference("accepted in two regions", one.region, where, 0, len(sent), min(sent))


def _decided(facts: RegionSnapshot) -> dict[str, DeliverySnapshot]:
    return {identity: found for deliveries in facts.deliveries.values() for identity, found in deliveries.items()}
