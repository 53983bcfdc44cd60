"""A worker's share of the calls a second that a provider's credential allows."""

from __future__ import annotations

from math import inf
from typing import Final

from notify_streams.records.devices import MAX_DEVICES

#: Unused calls of so many seconds may be made at once.
_BURST_S: Final = 0.25
#: A budget owes at most so many times what may be made at once: a message to many devices owes the calls for all but one.
_MOST_OWED: Final = MAX_DEVICES


class Budget:
    """A token bucket. The share of a worker is that of its partitions, so workers need not coordinate. Times are monotonic."""

    def __init__(self, calls_per_s: float | None, now: float) -> None:
        """`calls_per_s`: of the credential, for this role; None: no limit."""
        self._of_credential = calls_per_s
        self._rate: float = inf if calls_per_s is None else 0.0
        self._tokens = 0.0
        self._at = now

    def set_share(self, share: float, now: float) -> None:
        """`share`: partitions of this worker / all partitions."""
        self._refill(now)
        if self._of_credential is not None:
            self._rate = self._of_credential * share

    @property
    def calls_per_s(self) -> float | None:
        """The worker's share; None: no limit."""
        return None if self._rate == inf else self._rate

    def available(self, now: float) -> float:
        """How many calls may begin now."""
        if self._rate == inf:
            return inf
        self._refill(now)
        return self._tokens

    @property
    def most_at_once(self) -> float:
        """`available` is never more than this."""
        return inf if self._rate == inf else max(1.0, self._rate * _BURST_S)

    def spend(self, calls: int) -> None:
        self._tokens -= calls

    def seconds_until(self, calls: int, now: float) -> float:
        """When `calls` may begin; infinite without a share."""
        missing = calls - self.available(now)
        if missing <= 0:
            return 0.0
        return missing / self._rate if self._rate else inf

    def _refill(self, now: float) -> None:
        if self._rate not in (0.0, inf):
            tokens = max(self._tokens, -_MOST_OWED * self.most_at_once)
            self._tokens = min(tokens + (now - self._at) * self._rate, self.most_at_once)
        self._at = now
