"""Retries with exponential backoff and jitter.

Each policy has a metric and logs when its call begins to fail and when it succeeds again. `failing_calls` tells what fails now.

Source: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/ ("equal jitter").
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar
from weakref import WeakSet

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from notify_streams import metrics
from notify_streams.errors import PermanentFailure, RetryLater, UnknownFailure

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from prometheus_client.core import Metric

log = logging.getLogger(__name__)

#: Caps the exponent, so that a long outage does not produce a huge integer.
_MAX_EXPONENT: Final = 30
#: No call takes longer, because all have time-outs.
_LONGEST_CALL_S: Final = 30.0
#: An unknown error is tried at least so often before it counts as permanent.
_UNKNOWN_ATTEMPTS: Final = 5

Params = ParamSpec("Params")
Result = TypeVar("Result")
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Delays grow from `first_s` by a factor of 2 to at most `max_s`."""

    #: Names the call in the log and in `notify_retries_total`.
    name: str
    first_s: float
    max_s: float
    #: Calls in all, the first one included; None: no limit.
    max_attempts: int | None = None
    #: Replaced by tests.
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    #: Seconds after which unknown errors count as permanent, and a permanent error is raised. None: both are retried like an outage.
    max_unknown_s: float | None = None

    def delay_s(self, failures: int, draw: float) -> float | None:
        """The delay after the `failures`-th failure in a row (1 is the first); None after the last attempt.

        `draw` is a random number in [0, 1). Half of the delay is fixed, the other half is spread by `draw`.
        """
        if self.max_attempts is not None and failures >= self.max_attempts:
            return None
        delay_s = min(self.max_s, self.first_s * 2.0 ** min(failures - 1, _MAX_EXPONENT))
        return delay_s * (0.5 + draw / 2)

    def named(self, name: str) -> RetryPolicy:
        """The same policy for another call."""
        return replace(self, name=name)

    def attempts(self) -> Attempts:
        """The state of one sequence of attempts, for loops that do more than call again."""
        return Attempts(self)

    async def call(
        self, call: Callable[Params, Awaitable[Result]], *args: Params.args, **kwargs: Params.kwargs
    ) -> Result:
        """The result of `call(*args, **kwargs)`, which is called again after each `RetryLater`.

        Raises:
            RetryLater: the last error, after `max_attempts` calls.
            PermanentFailure: with `max_unknown_s`: the call will never succeed.
        """
        attempts = self.attempts()
        attempts.under_way = True
        try:
            while True:
                try:
                    result = await call(*args, **kwargs)
                except RetryLater as error:
                    await attempts.failed(error)
                else:
                    attempts.succeeded()
                    return result
        finally:
            attempts.under_way = False


class Attempts:
    """Consecutive attempts of one call."""

    __slots__ = (
        "__weakref__",
        "failed_at",
        "failing_since",
        "failures",
        "policy",
        "under_way",
        "unknown",
        "unknown_since",
    )

    def __init__(self, policy: RetryPolicy) -> None:
        self.policy = policy
        #: Failures since the last success.
        self.failures = 0
        #: Of the first and of the last of these failures, on the monotonic clock.
        self.failing_since = self.failed_at = 0.0
        #: Whether a caller waits for the next attempt: then the call fails until now, not until the last failure.
        self.under_way = False
        #: Number and beginning of the last failures, if no table lists their errors.
        self.unknown = 0
        self.unknown_since = 0.0

    async def failed(self, error: Exception) -> None:
        """Count a failure and wait before the next attempt.

        Raises:
            Exception: `error`, if it was the last attempt; `PermanentFailure` for an unknown error that lasts.
        """
        self.failures += 1
        metrics.RETRIES.labels(self.policy.name).inc()
        self.failed_at = time.monotonic()
        if self.failures == 1:
            self.failing_since = self.failed_at
            _failing.add(self)
            log.warning(
                "call failed, will be retried",
                extra={"action": "retry.failing", "call": self.policy.name, "error": str(error)},
            )
        self._raise_if_permanent(error)
        delay_s = self.policy.delay_s(self.failures, random.random())
        if delay_s is None:
            _failing.discard(self)
            raise error
        await self.policy.sleep(delay_s)

    def _raise_if_permanent(self, error: Exception) -> None:
        limit_s = self.policy.max_unknown_s
        if limit_s is None:
            return
        if isinstance(error, PermanentFailure):
            _failing.discard(self)
            raise error
        if not isinstance(error, UnknownFailure):
            self.unknown = 0
            return
        self.unknown += 1
        if self.unknown == 1:
            self.unknown_since = time.monotonic()
        if self.unknown >= _UNKNOWN_ATTEMPTS and time.monotonic() - self.unknown_since >= limit_s:
            _failing.discard(self)
            raise PermanentFailure(f"{error} ({self.unknown} times in a row)") from error

    def succeeded(self) -> None:
        """Start counting anew."""
        self.unknown = 0
        if self.failures:
            log.info(
                "call succeeded after retries",
                extra={"action": "retry.recovered", "call": self.policy.name, "failures": self.failures},
            )
            self.failures = 0
            _failing.discard(self)


#: Attempts whose last one failed. Weak: a cancelled caller drops its attempts and says nothing.
_failing: Final[WeakSet[Attempts]] = WeakSet()


def failing_calls() -> dict[str, float]:
    """The calls of this process that fail now, by policy name, and the longest time since a first failure.

    It ends with the last failure where it is not known whether there will be another attempt. Attempts that did not fail for long have
    ended, even if something still refers to them.
    """
    now = time.monotonic()
    found: dict[str, float] = {}
    for attempts in _failing:
        if now - attempts.failed_at < attempts.policy.max_s + _LONGEST_CALL_S:
            name = attempts.policy.name
            until = now if attempts.under_way else attempts.failed_at
            found[name] = max(found.get(name, 0.0), until - attempts.failing_since)
    return found


class _FailingCalls(Collector):
    def collect(self) -> Iterable[Metric]:
        gauge = GaugeMetricFamily(
            "notify_retrying_seconds", "Seconds for which a call has failed at every attempt", labels=["call"]
        )
        for name, seconds in failing_calls().items():
            gauge.add_metric([name], seconds)
        yield gauge


metrics.REGISTRY.register(_FailingCalls())


async def call_for_each(
    policy: RetryPolicy,
    call: Callable[[Sequence[Item]], Awaitable[object]],
    items: Sequence[Item],
    on_bad: Callable[[Item], object],
) -> None:
    """`call` with all items at once; if it can never succeed, with halves of them, in order. `on_bad` gets what fails alone.

    `policy` has `max_unknown_s`. A `call` that raises has no effect, or one that its repetition does not change.
    """
    if not items:
        return
    try:
        await policy.call(call, items)
    except PermanentFailure:
        if len(items) == 1:
            on_bad(items[0])
            return
        middle = len(items) // 2
        policy = replace(policy, max_unknown_s=0.0)  # an unknown error has lasted already
        await call_for_each(policy, call, items[:middle], on_bad)
        await call_for_each(policy, call, items[middle:], on_bad)


#: Retries without limit, until it is cancelled: for steps that must not be skipped.
STORE: Final = RetryPolicy("store", first_s=0.05, max_s=2.0)
