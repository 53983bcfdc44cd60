"""The calls to one server, limited by a circuit breaker."""

from __future__ import annotations

import time
from collections.abc import Awaitable

from notify_streams.delivery.breaker import Breaker
from notify_streams.delivery.providers.provider import ProviderOutcome, ProviderResult


class CallLimit:
    """Makes no call while the server fails, and only some when it has begun to answer again."""

    def __init__(self, provider: str, most: int) -> None:
        """`most`: calls under way at a time."""
        self._provider = provider
        self._most = most
        self._breaker = Breaker()
        self._calls = 0

    def refusal(self) -> ProviderResult | None:
        """The result of a call that is not made now; None: make it."""
        now = time.monotonic()
        if self._calls < self._breaker.limit(self._most, now):
            return None
        until = self._breaker.open_until
        return ProviderResult(
            outcome=ProviderOutcome.RETRY,
            provider=self._provider,
            detail="not called, too many calls failed or are under way",
            retry_after_s=None if until is None else max(0.0, until - now),
            begun=False,
        )

    async def counted(self, call: Awaitable[ProviderResult]) -> ProviderResult:
        """The result of `call`, which begins now."""
        self._calls += 1
        try:
            result = await call
        finally:
            self._calls -= 1
        if result.outcome is not ProviderOutcome.RETRY:
            if result.begun:
                self._breaker.succeeded(time.monotonic())
        elif not result.one_server:
            self._breaker.failed(time.monotonic(), result.retry_after_s)
        return result
