"""Compares regions: forwarded triggers arrived, no user is notified twice."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

from notify_streams.admin.audit.compare import Difference
from notify_streams.admin.audit.serving_intervals import each_served, serving_history

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from notify_streams.admin.audit.snapshot import DeliverySnapshot, RegionSnapshot


def compare_regions(regions: Mapping[str, RegionSnapshot]) -> Iterator[Difference]:
    """Every difference between these regions. Regions without a snapshot are not compared."""
    for snapshot in regions.values():
        yield from _arrived(snapshot, regions)
    for one, other in combinations(regions.values(), 2):
        yield from _twice(one, other)


def _arrived(snapshot: RegionSnapshot, regions: Mapping[str, RegionSnapshot]) -> Iterator[Difference]:
    """Triggers that a region forwarded arrived in the other one, whose own ledgers count their outcomes."""
    for region, handed in sorted(snapshot.handed_to.items()):
        if region not in regions:
            continue
        missing = handed - regions[region].arrived
        if missing:
            waiting = len(missing) <= snapshot.waiting_for.get(region, 0)
            where = f"{snapshot.region} -> {region}"
            found = len(handed) - len(missing)
            yield Difference(
                "forwarded and not arrived", snapshot.region, where, len(handed), found, min(missing), waiting
            )


def _twice(one: RegionSnapshot, other: RegionSnapshot) -> Iterator[Difference]:
    """A delivery id contains the notification id, so one that two regions have was notified by both."""
    where = f"{one.region} and {other.region}"
    mine, theirs = _decided(one), _decided(other)
    decided = mine.keys() & theirs.keys()
    history = serving_history((*one.changes, *other.changes))
    repeated = {
        identity
        for identity in decided
        if each_served(history, (one.region, mine[identity].decided_at), (other.region, theirs[identity].decided_at))
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


def _decided(snapshot: RegionSnapshot) -> dict[str, DeliverySnapshot]:
    return {identity: found for deliveries in snapshot.deliveries.values() for identity, found in deliveries.items()}
