"""Decides how many deliveries may be checked and called now.

Nothing is checked before it is admitted.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from notify_streams.delivery.provider_order import CalledProvider, ProviderOrder

#: What can begin within this time is admitted.
AHEAD_S: Final = 0.25
#: With few connections, a check that takes longer than `AHEAD_S` would otherwise keep the rate low: the rate decides what is admitted.
LEAST_AHEAD: Final = 64
#: Retries get at most this share while fresh messages wait.
_RETRY_SHARE: Final = 0.5
#: How often the limit of a breaker that is recovering, or a pause, is read again.
_POLL_S: Final = 0.1


@dataclass(slots=True)
class _Waiting:
    count: int = 0
    retries: int = 0
    #: Whether their places are given to others (`Admission.lend`).
    is_lent: bool = False

    def leave(self, count: int, retry: bool) -> None:
        self.count -= count
        if retry:
            self.retries -= count


class Admission:
    """The calls of one worker to the providers of its channel."""

    def __init__(self, order: ProviderOrder, *, least_ahead: int = LEAST_AHEAD) -> None:
        """`least_ahead`: so many are checked beside those under way, whatever the measured rate."""
        self._least_ahead = least_ahead
        self._order = order
        self._admitted = 0
        self._retries = 0
        #: By shard: those admitted that are not called yet, and how many of them are retries.
        self._waiting: defaultdict[int, _Waiting] = defaultdict(_Waiting)
        self._ended_a_second = 0.0
        self._ended = 0
        self._measured_at = time.monotonic()
        self._turn = asyncio.Lock()
        self._changed = asyncio.Event()
        #: The number of admitted deliveries at which a waiting caller may go on.
        self._wake_at = 0

    @property
    def held(self) -> bool:
        """Whether no provider may be called without a limit now."""
        now = time.monotonic()
        return self._order.closed(now) is None or self._order.seconds_until(1, now) > 0

    def calls(self, now: float) -> int:
        """How many calls may be under way."""
        return self._order.limit(now)

    async def take(self, want: int, shard: int = 0) -> int:
        """Wait until deliveries of `shard` may begin, and admit up to `want`. Each has to be released.

        Returns:
            How many are admitted: as many as can begin soon, so that checks are made in groups.
        """
        async with self._turn:
            while True:
                now = time.monotonic()
                pool = self._pool(now)
                wanted = int(min(want, max(1, pool // 4), self._order.most_at_once(now)))
                capacity = min(pool - self._admitted, self._order.available(now))
                if pool and capacity >= wanted:
                    return self._admit(min(want, int(capacity)), now, shard)
                self._wake_at = pool - wanted
                self._changed.clear()
                await self._wait(now, wanted)

    def take_retries(self, want: int, shard: int = 0) -> int:
        """Admit up to `want` retries at once, possibly none. Retries get at most half of the calls."""
        now = time.monotonic()
        pool = self._pool(now)
        capacity = min(
            pool - self._admitted, max(1, int(pool * _RETRY_SHARE)) - self._retries, self._order.available(now)
        )
        count = self._admit(max(0, min(want, int(capacity))), now, shard) if pool else 0
        self._retries += count
        self._waiting[shard].retries += count
        return count

    def begin(self, provider: CalledProvider, calls: int = 1, *, retry: bool = False, shard: int = 0) -> None:
        """An admitted delivery makes so many calls to `provider`."""
        self.take_back(shard)
        self._waiting[shard].leave(1, retry)
        self._order.begin(provider, calls)

    def not_begun(self, provider: CalledProvider, calls: int, *, retry: bool = False, shard: int = 0) -> None:
        """What `begin` was called for sent nothing: the delivery is still admitted, and will begin again."""
        self.take_back(shard)
        self._waiting[shard].leave(-1, retry)
        self._order.not_begun(provider, calls)

    def release(self, count: int = 1, *, retry: bool = False, begun: bool = False, shard: int = 0) -> None:
        """Deliveries have ended. `begun`: they were called."""
        if not begun:
            waiting = self._waiting[shard]
            waiting.leave(count, retry)
            if waiting.is_lent:
                return
            self._order.give_back(count)
        self._ended += count
        self._leave(count, count if retry else 0)

    def suspend(self, count: int, retries: int, shard: int) -> None:
        """Admitted deliveries of `shard` that are not called yet wait: others have their places until `resume`.

        `retries`: of the count.
        """
        waiting = self._waiting[shard]
        waiting.count -= count
        waiting.retries -= retries
        if not waiting.is_lent:
            self._order.give_back(count)
            self._leave(count, retries)

    def resume(self, count: int, retries: int, shard: int) -> None:
        """They go on, for a while beside those that have their places now."""
        self._admit(count, time.monotonic(), shard)
        self._retries += retries
        self._waiting[shard].retries += retries

    def lend(self, shard: int) -> None:
        """The shard does not answer: others may have the places of its deliveries that are not called yet."""
        waiting = self._waiting[shard]
        if not waiting.is_lent and waiting.count > 0:
            waiting.is_lent = True
            self._order.give_back(waiting.count)
            self._leave(waiting.count, waiting.retries)

    def take_back(self, shard: int) -> None:
        """The shard answers: its deliveries have their places again, for a while beside those of others."""
        waiting = self._waiting[shard]
        if waiting.is_lent:
            waiting.is_lent = False
            self._admitted += waiting.count
            self._retries += waiting.retries
            self._order.reserve(waiting.count, time.monotonic())

    def _leave(self, count: int, retries: int) -> None:
        self._admitted -= count
        self._retries -= retries
        if self._admitted <= self._wake_at:
            self._changed.set()

    def _admit(self, count: int, now: float, shard: int) -> int:
        if count:
            self.take_back(shard)
            self._waiting[shard].count += count
            self._admitted += count
            self._order.reserve(count, now)
        return count

    def changed(self) -> None:
        """A breaker, a budget or a pause has changed."""
        self._changed.set()

    async def _wait(self, now: float, wanted: int) -> None:
        timeout_s: float | None = None
        if self._order.closed(now) is None:
            timeout_s = self._order.next_change_s(now, _POLL_S)
        elif (budget_s := self._order.seconds_until(wanted, now)) > 0:
            timeout_s = min(budget_s, 1.0)
        try:
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()
        except TimeoutError:
            pass

    def _pool(self, now: float) -> int:
        calls = self.calls(now)
        if self._order.closed(now) is None:
            return calls
        return calls + max(self._least_ahead, int(AHEAD_S * self._rate(now)))

    def _rate(self, now: float) -> float:
        passed_s = now - self._measured_at
        if passed_s > AHEAD_S:
            weight = min(1.0, passed_s)
            self._ended_a_second += weight * (self._ended / passed_s - self._ended_a_second)
            self._ended, self._measured_at = 0, now
        return self._ended_a_second
