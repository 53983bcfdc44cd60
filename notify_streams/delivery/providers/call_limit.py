"""The calls to one server or provider, limited by a circuit breaker and a budget."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from typing import Final

from notify_streams.delivery.breaker import LATE_AFTER_S, Breaker, NeverOpen, ProbedCalls
from notify_streams.delivery.budget import Budget
from notify_streams.delivery.provider_state import ProviderState
from notify_streams.delivery.providers.provider import ProviderOutcome, ProviderResult

#: Where the event loop was busy for so long, answers may have come that were not read yet: they have so long.
_BUSY_S: Final = 0.2


class CallLimit:
    """Makes no call while the server fails, only some when it has begun to answer again, and no more than the budget allows."""

    def __init__(
        self, provider: str, most: int, budget: Budget | None = None, *, of_many_servers: bool = False
    ) -> None:
        """
        Args:
            most: calls under way at a time.
            budget: None: no limit.
            of_many_servers: of all servers of a provider together, one of which says nothing of the others.
        """
        self._provider = provider
        self._budget = budget
        self._most = most
        self._breaker = NeverOpen() if of_many_servers else Breaker(lambda: self._probed.opened(self._calls))
        self._probed = ProbedCalls(self._breaker)
        self._calls = 0

    def refusal(self) -> ProviderResult | None:
        """The result of a call that is not made now; None: make it."""
        now = time.monotonic()
        if self._calls >= self._probed.limit(self._calls, self._most, now):
            wait_s = self._breaker.open_for_s(now)
            return self._not_called("not called, too many calls failed or are under way", wait_s or None)
        if self._budget is not None and self._budget.available(now) < 1:
            return self._not_called("not called, the budget is used up", None)
        return None

    def _not_called(self, why: str, retry_after_s: float | None) -> ProviderResult:
        return ProviderResult(
            outcome=ProviderOutcome.RETRY,
            provider=self._provider,
            detail=why,
            retry_after_s=retry_after_s,
            begun=False,
        )

    def state(self, now: float, *, paused: bool) -> ProviderState:
        """The present state. `paused`: by an operator."""
        return ProviderState(
            self._provider,
            "paused" if paused else self._breaker.state(now).value,
            0.0 if paused else round(self._breaker.open_for_s(now), 1),
            self._calls,
            calls_per_s=None if self._budget is None else self._budget.calls_per_s,
        )

    async def counted(self, call: Awaitable[ProviderResult]) -> ProviderResult:
        """The result of `call`, which begins now. Without one after `LATE_AFTER_S` it counts as a failure."""
        self._calls += 1
        self._probed.begin(1)
        if self._budget is not None:
            self._budget.spend(1)
        late = _LateCall(self._breaker)
        try:
            result = await call
        finally:
            late.ended()
            self._calls -= 1
        if result.not_ready:
            self._probed.not_begun(1)
            if self._budget is not None:
                self._budget.spend(-1)
        elif result.outcome is not ProviderOutcome.RETRY:
            if result.begun:
                self._breaker.succeeded(time.monotonic())
        elif not result.one_server and not late.is_counted:
            self._breaker.failed(time.monotonic(), result.retry_after_s)
        return result


class _LateCall:
    """Counts a call that has no answer in time as a failure, once."""

    def __init__(self, breaker: Breaker) -> None:
        self.is_counted = False
        self._breaker = breaker
        self._loop = asyncio.get_running_loop()
        self._due = self._loop.time() + LATE_AFTER_S
        self._timer = self._loop.call_at(self._due, self._look)

    def ended(self) -> None:
        self._timer.cancel()

    def _look(self) -> None:
        now = self._loop.time()
        if now > self._due + _BUSY_S:
            self._due = now + _BUSY_S
            self._timer = self._loop.call_at(self._due, self._look)
            return
        self.is_counted = True
        self._breaker.failed(time.monotonic())
