"""Who served when. In: the finished changes that the control logs tell. Out: whether two regions each decided in their own time.

A region knows the ids that it has notified, and asks no other. So an id that upstream sends again, once before and once after a change
of who serves, is notified by both servers: the stated window. Each record still has its one outcome, and neither region decided while
the other served; that is what is looked at here.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from notify_streams.regions.failover.protocol import ControlRecord

#: Clocks of different machines; a decision is dated when its batch begins.
_CLOCKS_S: Final = 1.0


def turns(changes: Iterable[ControlRecord]) -> list[list[tuple[float, str]]]:
    """By seat, in order: since when (Unix seconds), and who. A seat that never changed hands is not told."""
    found: dict[str, dict[int, tuple[float, str]]] = {}
    for change in changes:
        found.setdefault(change.home, {})[change.epoch] = change.at.timestamp(), change.server
    return [[(-math.inf, seat), *(by_epoch[epoch] for epoch in sorted(by_epoch))] for seat, by_epoch in found.items()]


def each_served(seats: Sequence[Sequence[tuple[float, str]]], one: tuple[str, float], other: tuple[str, float]) -> bool:
    """Whether there is a seat that each of two regions served at its own moment; `one`, `other`: the region and the moment."""
    return any(_served(seat, *one) and _served(seat, *other) for seat in seats)


def _served(seat: Sequence[tuple[float, str]], region: str, at: float) -> bool:
    """Whether it may have, clocks being what they are."""
    ends = [*(began for began, _ in seat[1:]), math.inf]
    return any(
        server == region and began - _CLOCKS_S <= at <= ended + _CLOCKS_S
        for (began, server), ended in zip(seat, ends, strict=True)
    )
