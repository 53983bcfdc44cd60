"""Where one trigger goes from here: `next_hop(located, travel, placement)`. Values in, a value out.

A person who moved has an old home that may have notified a trigger of the same id. While their location names it (`previous`),
triggers go by way of the old home: it drops those that it knows by their id and passes the others on, cleared.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from notify_streams.regions.failover.placement import Placement
    from notify_streams.regions.forwarding.headers import ForwardingHeaders
    from notify_streams.regions.locations import Location

#: Enough for: entered anywhere, by way of the old home, to the new one; one more for each change of who serves on the way.
MAX_HOPS: Final = 2


class LocalAction(StrEnum):
    """A trigger that goes nowhere."""

    #: Decide it here.
    SERVE = "serve"
    #: This region's control log is behind the sender's, or the seat is on its way here: the same batch again in a moment.
    HOLD = "hold"
    #: A dead letter.
    TOO_MANY_HOPS = "too_many_hops"


@dataclass(frozen=True, slots=True)
class Forward:
    """Send it to `region`, with these in `travel.onward`."""

    region: str
    location_version: int
    epoch: int
    #: Look first whether a notification of this id exists here: then the trigger is a duplicate, and goes nowhere.
    check_own: bool = False
    cleared_by: str | None = None


def next_hop(located: Location, travel: ForwardingHeaders, placement: Placement) -> LocalAction | Forward:
    """Decide one trigger's way.

    Args:
        located: the person's row in this region's locations.
        travel: the way so far; `travel.HERE` for every topic that other regions do not write, whatever headers a client set.
    """
    here = placement.here
    if travel.location_version > located.version:
        return (
            LocalAction.SERVE
        )  # the sender knows of a move that has not come here yet, and sent it to the right place
    seat = placement.seat(located.region)
    if seat is None or travel.epoch > seat.epoch:
        return LocalAction.HOLD
    gate = None if travel.cleared_by else _gate(located, placement)
    if gate is not None and gate != here:
        return _forward(gate, travel, located.version, 0)
    if seat.server == here:
        return LocalAction.SERVE
    if seat.server is None and seat.heading == here:
        return LocalAction.HOLD
    return _forward(seat.server or seat.heading, travel, located.version, seat.epoch, cleared_by=gate)


def _gate(located: Location, placement: Placement) -> str | None:
    """The old home that must look first. While it is away and another region serves its people, nobody can look: no gate."""
    previous = located.previous
    if previous is None or previous == located.region:
        return None
    seat = placement.seat(previous)
    return previous if seat is not None and seat.server == previous else None


def _forward(
    region: str, travel: ForwardingHeaders, version: int, epoch: int, cleared_by: str | None = None
) -> LocalAction | Forward:
    # Whoever serves changed since the sender looked: what waited in a region that was lost may have come far. An epoch is news once.
    if travel.hops >= MAX_HOPS and epoch <= travel.epoch:
        return LocalAction.TOO_MANY_HOPS
    return Forward(region, version, epoch, check_own=cleared_by is not None, cleared_by=cleared_by)
