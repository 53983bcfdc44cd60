"""The calls to one server or provider, limited by a circuit breaker and a budget."""

from __future__ import annotations

import time
from collections.abc import Awaitable

from notify_streams.delivery.breaker import Breaker
from notify_streams.delivery.budget import Budget
from notify_streams.delivery.provider_state import ProviderState
from notify_streams.delivery.providers.provider import ProviderOutcome, ProviderResult


class CallLimit:
    """Makes no call while the server fails, only some when it has begun to answer again, and no more than the budget allows."""

    def __init__(self, provider: str, most: int, budget: Budget | None = None) -> None:
        """`most`: calls under way at a time. `budget`: None: no limit."""
        self._provider = provider
        self._budget = budget
        self._most = most
        self._breaker = Breaker()
        self._calls = 0

    def refusal(self) -> ProviderResult | None:
        """The result of a call that is not made now; None: make it."""
        now = time.monotonic()
        if self._calls >= self._breaker.limit(self._most, now):
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
        """The result of `call`, which begins now."""
        self._calls += 1
        if self._budget is not None:
            self._budget.spend(1)
        try:
            result = await call
        finally:
            self._calls -= 1
        if result.not_ready:
            if self._budget is not None:
                self._budget.spend(-1)
        elif result.outcome is not ProviderOutcome.RETRY:
            if result.begun:
                self._breaker.succeeded(time.monotonic())
        elif not result.one_server:
            self._breaker.failed(time.monotonic(), result.retry_after_s)
        return result
