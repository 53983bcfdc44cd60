"""Which region served a home region when, from finished placement changes.

A region knows only the ids that it notified itself. An id that upstream sends once before and once after a failover is therefore notified by
both serving regions. That is a documented limit: each record has one outcome, and no region decided while another one served.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from notify_streams.regions.failover.protocol import ControlRecord

#: Clocks of machines differ, and a decision has the time at which its batch began.
_CLOCKS_S: Final = 1.0


def serving_history(changes: Iterable[ControlRecord]) -> list[list[tuple[float, str]]]:
    """For each home region that ever changed: the time (Unix seconds) of each change and the new serving region, in order."""
    found: dict[str, dict[int, tuple[float, str]]] = {}
    for change in changes:
        found.setdefault(change.home, {})[change.epoch] = change.at.timestamp(), change.server
    return [[(-math.inf, home), *(by_epoch[epoch] for epoch in sorted(by_epoch))] for home, by_epoch in found.items()]


def each_served(
    history: Sequence[Sequence[tuple[float, str]]], one: tuple[str, float], other: tuple[str, float]
) -> bool:
    """Whether two regions served the same home region, each at its own time. `one`, `other`: region and time."""
    return any(_served(changes, *one) and _served(changes, *other) for changes in history)


def _served(changes: Sequence[tuple[float, str]], region: str, at: float) -> bool:
    """Whether `region` may have served at the time `at`, within the difference of clocks."""
    ends = [*(began for began, _ in changes[1:]), math.inf]
    return any(
        server == region and began - _CLOCKS_S <= at <= ended + _CLOCKS_S
        for (began, server), ended in zip(changes, ends, strict=True)
    )
