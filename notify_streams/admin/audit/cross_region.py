"""Compares regions: forwarded triggers arrived, no user is notified twice."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING

from notify_streams.admin.audit.compare import Difference
from notify_streams.admin.audit.serving_intervals import each_served, serving_history
from notify_streams.admin.audit.totals import Ids
from notify_streams.topics import FORWARDED

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from notify_streams.admin.audit.region_part import RegionPart
    from notify_streams.admin.audit.snapshot import RegionSnapshot


@dataclass(slots=True)
class _Handed:
    """Triggers that one region forwarded to another one."""

    count: int = 0
    missing: Ids = field(default_factory=Ids)


@dataclass(slots=True)
class _Both:
    """Delivery ids that two regions have."""

    notified: Ids = field(default_factory=Ids)
    repeated: Ids = field(default_factory=Ids)
    accepted: Ids = field(default_factory=Ids)


class RegionComparison:
    """Compares the same part of all regions, part by part. Regions without a snapshot are not compared."""

    def __init__(self, regions: Mapping[str, RegionSnapshot]) -> None:
        self._regions = regions
        self._handed: dict[tuple[str, str], _Handed] = {}
        self._both = {pair: _Both() for pair in combinations(regions, 2)}

    def add(self, parts: Mapping[str, RegionPart]) -> None:
        """`parts`: by region."""
        for region, part in parts.items():
            for other, handed in part.handed_to.items():
                if other in parts:
                    held_since = self._regions[other].held_since
                    compared = {
                        source
                        for source, (partition, at) in handed.items()
                        if at >= held_since.get((FORWARDED, partition), 0.0)
                    }
                    found = self._handed.setdefault((region, other), _Handed())
                    found.count += len(compared)
                    found.missing.add(compared - parts[other].arrived)
        for (one, other), both in self._both.items():
            self._add_both(both, one, parts[one], other, parts[other])

    def _add_both(self, both: _Both, one: str, part: RegionPart, other: str, other_part: RegionPart) -> None:
        """A delivery id contains the notification id, so one that two regions have was notified by both."""
        mine, theirs = part.all_deliveries(), other_part.all_deliveries()
        decided = mine.keys() & theirs.keys()
        history = serving_history((*self._regions[one].changes, *self._regions[other].changes))
        repeated = {
            identity
            for identity in decided
            if each_served(history, (one, mine[identity].decided_at), (other, theirs[identity].decided_at))
        }
        both.notified.add(decided - repeated)
        both.repeated.add(repeated)
        if self._regions[one].has_log and self._regions[other].has_log:
            both.accepted.add((part.accepted.keys() & other_part.accepted.keys()) - repeated)

    def differences(self) -> Iterator[Difference]:
        """Every difference between the regions, of all parts."""
        for (region, other), handed in sorted(self._handed.items()):
            if missing := handed.missing.count:
                waiting = missing <= self._regions[region].waiting_for.get(other, 0)
                found, where = handed.count - missing, f"{region} -> {other}"
                example = handed.missing.example
                yield Difference("forwarded and not arrived", region, where, handed.count, found, example, waiting)
        for (one, other), both in self._both.items():
            where = f"{one} and {other}"
            for check, ids in (
                ("notified in two regions", both.notified),
                ("repeated across a change of who serves", both.repeated),
                ("accepted in two regions", both.accepted),
            ):
                if ids.count:
                    repeated = ids is both.repeated
                    yield Difference(check, one, where, 0, ids.count, ids.example, repeated=repeated)
