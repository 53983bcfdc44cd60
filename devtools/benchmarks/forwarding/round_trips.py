"""Round trips between the regions, in milliseconds."""

from __future__ import annotations

from typing import Final

#: Frankfurt to Virginia, and either of them to Singapore or Tokyo, rounded from what public clouds measure.
ROUND_TRIPS_MS: Final = {("us", "eu"): 80, ("eu", "asia"): 150, ("us", "asia"): 150}
DISTANCES_MS: Final = tuple(sorted(set(ROUND_TRIPS_MS.values())))
