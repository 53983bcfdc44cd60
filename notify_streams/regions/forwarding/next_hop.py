"""Decides where one trigger is handled: in this region, or in which other one.

A user who moved has a previous home region that may have notified a trigger with the same id. While their location names it
(`previous`), triggers pass through it: it drops the ids that it knows and forwards the others with `cleared_by`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from notify_streams.regions.failover.placement import Placement
    from notify_streams.regions.forwarding.headers import ForwardingHeaders
    from notify_streams.regions.locations import Location

#: From any region to the previous home, from there to the new one. A change of the serving region allows one more.
MAX_HOPS: Final = 2


class LocalAction(StrEnum):
    """What to do with a trigger that is not forwarded."""

    #: Decide it in this region.
    SERVE = "serve"
    #: Decide the batch again later: this region is about to serve.
    HOLD = "hold"
    #: Decide the batch again later: the sender names an epoch that this region's control log does not have yet.
    BEHIND = "behind"
    #: Write a dead letter.
    TOO_MANY_HOPS = "too_many_hops"


@dataclass(frozen=True, slots=True)
class Forward:
    """Send the trigger to `region`; the other fields go into its headers (`headers.forwarded_headers`)."""

    region: str
    location_version: int
    epoch: int
    #: If a notification with this id exists in this region, the trigger is a duplicate and is not forwarded.
    check_own: bool = False
    cleared_by: str | None = None


def next_hop(location: Location, headers: ForwardingHeaders, placement: Placement) -> LocalAction | Forward:
    """Decide one trigger.

    Args:
        location: where this region believes the user to live.
        headers: `headers.NOT_FORWARDED` for every topic that only clients write, whatever headers a client has set.
    """
    here = placement.here
    if headers.location_version > location.version:
        return LocalAction.SERVE  # the sender knows of a move that has not arrived here yet: this is the new home
    home = placement.homes.get(location.region)
    if home is None:
        return LocalAction.HOLD
    if headers.epoch > home.epoch:
        return LocalAction.BEHIND
    previous = None if headers.cleared_by else _previous_home(location, placement)
    if previous is not None and previous != here:
        return _forward(previous, headers, location.version, 0)
    if home.server == here:
        return LocalAction.SERVE
    if home.server is None and home.next_server == here:
        return LocalAction.HOLD
    return _forward(home.server or home.next_server, headers, location.version, home.epoch, cleared_by=previous)


def _previous_home(location: Location, placement: Placement) -> str | None:
    """The previous home that must check for duplicates; None if it does not serve its own users now and so cannot check."""
    previous = location.previous
    if previous is None or previous == location.region:
        return None
    home = placement.homes.get(previous)
    return previous if home is not None and home.server == previous else None


def _forward(
    region: str, headers: ForwardingHeaders, version: int, epoch: int, cleared_by: str | None = None
) -> LocalAction | Forward:
    # A server that changed after the sender's decision allows another hop, once for each epoch: records that waited in a failed
    # region may already have used theirs.
    if headers.hops >= MAX_HOPS and epoch <= headers.epoch:
        return LocalAction.TOO_MANY_HOPS
    return Forward(region, version, epoch, check_own=cleared_by is not None, cleared_by=cleared_by)
