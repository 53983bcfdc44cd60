"""Who served when. In: the finished changes that the control logs tell. Out: whether two regions each decided in their own time.

A region knows the ids that it has notified, and asks no other. So an id that upstream sends again, once before and once after a change
of who serves, is notified by both servers: the stated window. Each record still has its one outcome, and neither region decided while
the other served; that is what is looked at here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from notify_streams.ops.audit.facts import RegionFacts
    from notify_streams.regions.control import Control

#: Clocks of different machines; a decision is dated when its batch begins.
_CLOCKS_S: Final = 1.0


def each_served(one: RegionFacts, one_at: float, other: RegionFacts, other_at: float) -> bool:
    """Whether there is a seat that `one` served at its moment and `other` at its own, in turn."""
    changes = {(change.seat, change.epoch): change for facts in (one, other) for change in facts.changes}
    for seat in {seat for seat, _ in changes}:
        turns = sorted((change for change in changes.values() if change.seat == seat), key=lambda change: change.epoch)
        if one.region in _serving(seat, turns, one_at) and other.region in _serving(seat, turns, other_at):
            return True
    return False


def _serving(seat: str, turns: Sequence[Control], at: float) -> set[str]:
    """Who may have served then, clocks being what they are."""
    begins = [(float("-inf"), seat), *((change.at.timestamp(), change.server) for change in turns)]
    ends = [*(began for began, _ in begins[1:]), float("inf")]
    return {
        server
        for (began, server), ended in zip(begins, ends, strict=True)
        if began - _CLOCKS_S <= at <= ended + _CLOCKS_S
    }
