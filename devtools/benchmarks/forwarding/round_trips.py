"""How far the regions lie apart: round trips in milliseconds. Values; no I/O."""

from __future__ import annotations

from typing import Final

#: Frankfurt to Virginia, and either of them to Singapore or Tokyo, rounded from what public clouds measure between these places.
ROUND_TRIPS_MS: Final = {("us", "eu"): 80, ("eu", "asia"): 150, ("us", "asia"): 150}
#: Each once: a link is as long in both directions.
DISTANCES_MS: Final = tuple(sorted(set(ROUND_TRIPS_MS.values())))
