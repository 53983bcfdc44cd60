"""Decides how many deliveries may be checked and called now.

Nothing is checked before it is admitted.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from notify_streams.delivery.breaker import BreakerState

if TYPE_CHECKING:
    from notify_streams.delivery.breaker import Breaker
    from notify_streams.delivery.budget import Budget

#: What can begin within this time is admitted.
AHEAD_S: Final = 0.25
#: With few connections, a check that takes longer than `AHEAD_S` would otherwise keep the rate low: the rate decides what is admitted.
LEAST_AHEAD: Final = 64
#: Retries get at most this share while fresh messages wait.
_RETRY_SHARE: Final = 0.5
#: How often the limit of a breaker that is recovering, or a pause, is read again.
_POLL_S: Final = 0.1


class Admission:
    """The calls of one worker to one provider."""

    def __init__(self, breaker: Breaker, budget: Budget, max_in_flight: int, *, least_ahead: int = LEAST_AHEAD) -> None:
        """`least_ahead`: so many are checked beside those under way, whatever the measured rate."""
        self._least_ahead = least_ahead
        self._breaker = breaker
        self._budget = budget
        self._max_in_flight = max_in_flight
        #: An operator has paused the provider.
        self.paused = False
        self._admitted = 0
        self._retries = 0
        self._ended_a_second = 0.0
        self._ended = 0
        self._measured_at = time.monotonic()
        self._turn = asyncio.Lock()
        self._changed = asyncio.Event()
        #: The number of admitted deliveries at which a waiting caller may go on.
        self._wake_at = 0

    @property
    def held(self) -> bool:
        """Whether the provider may not be called without a limit now."""
        now = time.monotonic()
        return self.paused or self._breaker.state(now) is not BreakerState.CLOSED or self._budget.available(now) < 1

    def calls(self, now: float) -> int:
        """How many calls may be under way."""
        return 0 if self.paused else self._breaker.limit(self._max_in_flight, now)

    async def take(self, want: int) -> int:
        """Wait until deliveries may begin, and admit up to `want`. Each has to be released.

        Returns:
            How many are admitted: as many as can begin soon, so that checks are made in groups.
        """
        async with self._turn:
            while True:
                now = time.monotonic()
                pool = self._pool(now)
                wanted = min(want, max(1, pool // 4))
                capacity = min(pool - self._admitted, self._budget.available(now))
                if pool and capacity >= wanted:
                    return self._admit(min(want, int(capacity)))
                self._wake_at = pool - wanted
                self._changed.clear()
                await self._wait(now, pool, wanted)

    def take_retries(self, want: int) -> int:
        """Admit up to `want` retries at once, possibly none. Retries get at most half of the calls."""
        now = time.monotonic()
        pool = self._pool(now)
        capacity = min(
            pool - self._admitted, max(1, int(pool * _RETRY_SHARE)) - self._retries, self._budget.available(now)
        )
        count = self._admit(max(0, min(want, int(capacity)))) if pool else 0
        self._retries += count
        return count

    def release(self, count: int = 1, *, retry: bool = False) -> None:
        """Deliveries have ended, or were not called."""
        self._admitted -= count
        self._ended += count
        if retry:
            self._retries -= count
        if self._admitted <= self._wake_at:
            self._changed.set()

    def spend(self, calls: int) -> None:
        """An admitted delivery makes so many more calls than one."""
        self._budget.spend(calls)

    def _admit(self, count: int) -> int:
        self._admitted += count
        self._budget.spend(count)
        return count

    def changed(self) -> None:
        """The breaker, the budget or the pause has changed."""
        self._changed.set()

    async def _wait(self, now: float, pool: int, wanted: int) -> None:
        timeout_s: float | None = None
        if self.paused or self._breaker.state(now) in (BreakerState.RECOVERING, BreakerState.PROBING):
            timeout_s = _POLL_S
        elif pool == 0 and self._breaker.open_until is not None:
            timeout_s = max(self._breaker.open_until - now, 0.001)
        elif (budget_s := self._budget.seconds_until(wanted, now)) > 0:
            timeout_s = min(budget_s, 1.0)
        try:
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()
        except TimeoutError:
            pass

    def _pool(self, now: float) -> int:
        calls = self.calls(now)
        if calls < self._max_in_flight:
            return calls
        return calls + max(self._least_ahead, int(AHEAD_S * self._rate(now)))

    def _rate(self, now: float) -> float:
        passed_s = now - self._measured_at
        if passed_s > AHEAD_S:
            weight = min(1.0, passed_s)
            self._ended_a_second += weight * (self._ended / passed_s - self._ended_a_second)
            self._ended, self._measured_at = 0, now
        return self._ended_a_second
