"""How long to wait before trying again: a value of the attempt and a draw, no clock.

Exponential with full jitter: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

#: 2 ** 30 of anything is beyond every limit here, and a long outage must not make the power a large number.
_HIGHEST_POWER: Final = 30


@dataclass(frozen=True, slots=True)
class Backoff:
    """A policy: pauses grow from `first_s` to at most `longest_s`; `attempts` calls in all, None without an end."""

    first_s: float
    longest_s: float
    attempts: int | None = None

    def pause_s(self, failures: int, draw: float) -> float | None:
        """The pause after the `failures`-th failure in a row (1 is the first), None when it was the last attempt.

        `draw` is a random number of [0, 1): half of the pause is certain, the other half spreads callers apart.
        """
        if self.attempts is not None and failures >= self.attempts:
            return None
        pause = min(self.longest_s, self.first_s * 2.0 ** min(failures - 1, _HIGHEST_POWER))
        return pause * (0.5 + draw / 2)
