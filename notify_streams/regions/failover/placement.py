"""The serving region of each home region at one moment."""

from __future__ import annotations

import msgspec

from notify_streams.regions.failover.protocol import HomeRegions


class Placement(msgspec.Struct, frozen=True, gc=False):
    """The state of this region's control log. Flushes are fenced by `epoch`."""

    here: str
    homes: HomeRegions

    @property
    def epoch(self) -> int:
        """One number for all home regions: grows with every change of any of them."""
        return sum(2 * home.epoch + (home.server is not None) for home in self.homes.values())

    def serves(self, home_region: str) -> bool:
        """Whether this region serves the users of `home_region`."""
        home = self.homes.get(home_region)
        return home is not None and home.server == self.here

    def server_of(self, home_region: str) -> str | None:
        """The region that serves, or is about to serve, the users of `home_region`; None for an unknown region."""
        home = self.homes.get(home_region)
        return None if home is None else home.server or home.next_server
