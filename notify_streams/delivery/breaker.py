"""Circuit breaker of one provider: how many calls may be under way.

It opens when most of the last calls failed, for a time that doubles at each failed probe; then one call is a probe. After a probe's success
the allowed number of calls grows from a tenth by a factor of 2 a second. No I/O and no clock: the caller passes the time.
"""

from __future__ import annotations

from collections import deque
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

#: A call without an answer for this long counts as a failure.
LATE_AFTER_S: Final = 2.0
#: The breaker opens at so many failures among the last results, if they are at least half of them.
MIN_FAILURES: Final = 5
_WINDOW: Final = 20
#: Results older than this are forgotten.
WINDOW_S: Final = 10.0
FIRST_OPEN_S: Final = 1.0
MAX_OPEN_S: Final = 10.0
#: A provider that asks for a longer time is probed after this one: one answer must not stop a channel for hours.
MAX_ASKED_S: Final = 300.0
#: Providers whose server each recipient names.
MANY_SERVERS: Final = frozenset(("web_push",))
#: So many answers in a row that ask to wait are about the provider.
_THROTTLED: Final = 2
#: The share of the calls that is allowed at once after a probe's success.
_FIRST_SHARE: Final = 0.1
#: Growth of that share a second.
_GROWTH: Final = 2.0


class BreakerState(StrEnum):
    CLOSED = "closed"
    #: no call
    OPEN = "open"
    #: one call at a time
    PROBING = "probing"
    #: closed, with a limit that grows
    RECOVERING = "recovering"


class Breaker:
    """State of one provider. Times are seconds of one monotonic clock."""

    def __init__(self, on_open: Callable[[], None] = lambda: None) -> None:
        """`on_open`: called each time that it opens, or stays open for longer."""
        self._on_open = on_open
        self._results: deque[tuple[float, bool]] = deque(maxlen=_WINDOW)
        self._failures = 0
        self._open_until: float | None = None
        self._open_s = FIRST_OPEN_S
        self._closed_at: float | None = None
        #: Answers in a row that asked to wait.
        self._throttled = 0

    def state(self, now: float) -> BreakerState:
        if self._open_until is not None:
            return BreakerState.OPEN if now < self._open_until else BreakerState.PROBING
        return BreakerState.CLOSED if self._share(now) >= 1.0 else BreakerState.RECOVERING

    @property
    def open_until(self) -> float | None:
        """When the next probe may be made; None if the breaker is closed."""
        return self._open_until

    def open_for_s(self, now: float) -> float:
        """Seconds until the next probe; 0 unless it is open."""
        return 0.0 if self._open_until is None else max(0.0, self._open_until - now)

    def limit(self, calls: int, now: float) -> int:
        """How many calls may be under way, of `calls` that the caller could make."""
        match self.state(now):
            case BreakerState.OPEN:
                return 0
            case BreakerState.PROBING:
                return 1
        return max(1, int(calls * self._share(now)))

    def succeeded(self, now: float) -> None:
        """The provider answered a call, whatever it said about the message."""
        self._throttled = 0
        if self._open_until is not None:
            if now < self._open_until:
                return  # the answer to a call from before it opened
            self._close(now)
            return
        self._add(now, failed=False)

    def failed(self, now: float, retry_after_s: float | None = None) -> None:
        """A call failed, or had no answer in time.

        Args:
            retry_after_s: the provider asks for no call before; at most `MAX_ASKED_S` is kept. One such answer may be about one device or
                person, so it counts for the provider after a second one without a success between them.
        """
        self._throttled = 0 if retry_after_s is None else self._throttled + 1
        if self._open_until is not None:
            if now >= self._open_until:  # a probe
                self._open_s = min(self._open_s * 2, MAX_OPEN_S)
                self._open(now, self._open_s)
        else:
            self._add(now, failed=True)
            if self._failures >= MIN_FAILURES and 2 * self._failures >= len(self._results):
                self._open(now, self._open_s)
        if retry_after_s is not None and self._throttled >= _THROTTLED:
            self._open(now, min(retry_after_s, MAX_ASKED_S))

    def _open(self, now: float, seconds: float) -> None:
        self._open_until = max(self._open_until or now, now + seconds)
        self._results.clear()
        self._failures = 0
        self._on_open()

    def _close(self, now: float) -> None:
        self._open_until = None
        self._open_s = FIRST_OPEN_S
        self._closed_at = now

    def _share(self, now: float) -> float:
        if self._closed_at is None:
            return 1.0
        share: float = _FIRST_SHARE * _GROWTH ** min(now - self._closed_at, 10.0)
        if share >= 1.0:
            self._closed_at = None
        return min(share, 1.0)

    def _add(self, now: float, *, failed: bool) -> None:
        while self._results and (len(self._results) == _WINDOW or now - self._results[0][0] > WINDOW_S):
            self._failures -= self._results.popleft()[1]
        self._results.append((now, failed))
        self._failures += failed


class ProbedCalls:
    """Tells probes from calls that were under way when the breaker opened: those hold up no probe while they have no answer."""

    def __init__(self, breaker: Breaker) -> None:
        self._breaker = breaker
        self._from_before = 0
        self._probes = 0

    def opened(self, calls: int) -> None:
        """The breaker opens, or stays open for longer, while so many are under way."""
        self._from_before, self._probes = calls, 0

    def begin(self, calls: int) -> None:
        if self._breaker.open_until is not None:
            self._probes += calls

    def not_begun(self, calls: int) -> None:
        """So many that began, and are not under way any more, sent nothing."""
        self._probes = max(0, self._probes - calls)

    def limit(self, calls: int, most: int, now: float) -> int:
        """How many calls may be under way. `calls`: those that are; `most`: those that the caller could make."""
        if self._breaker.state(now) is not BreakerState.PROBING:
            return self._breaker.limit(most, now)
        self._probes = min(self._probes, calls)
        self._from_before = min(self._from_before, calls - self._probes)
        return min(self._from_before + self._breaker.limit(most, now), most)


class NeverOpen(Breaker):
    """Of a provider with a server for each recipient: one that does not answer says nothing of the others.

    The client has a breaker for each (`WebPush`).
    """

    def failed(self, now: float, retry_after_s: float | None = None) -> None:
        """It stays closed."""
