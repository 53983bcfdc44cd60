"""Who serves a person now, as this region knows it: a value that a batch of triggers is decided by."""

from __future__ import annotations

import msgspec

from notify_streams.regions.failover.protocol import HomeRegion, HomeRegions


class Placement(msgspec.Struct, frozen=True, gc=False):
    """The seats at one moment. `epoch` grows with every change that this region learns of; a flush is fenced by it."""

    here: str
    seats: HomeRegions

    @property
    def epoch(self) -> int:
        """One number for all seats: larger after every change of any of them."""
        return sum(2 * seat.epoch + (seat.server is not None) for seat in self.seats.values())

    def serves(self, home: str) -> bool:
        """Whether this region notifies the people at home in `home`."""
        seat = self.seats.get(home)
        return seat is not None and seat.server == self.here

    def server_of(self, home: str) -> str | None:
        """The region that serves, or is about to serve, the people of `home`; None for a region that nobody knows."""
        seat = self.seats.get(home)
        return None if seat is None else seat.server or seat.heading

    def seat(self, home: str) -> HomeRegion | None:
        return self.seats.get(home)
