"""Calls that the policy explains: the breaker in a simulated outage."""

from __future__ import annotations

import heapq
from itertools import count
from math import ceil
from typing import TYPE_CHECKING, Final

from devtools.benchmarks.outages.cases import LATE_S
from notify_streams.delivery.admission import AHEAD_S
from notify_streams.delivery.breaker import Breaker

if TYPE_CHECKING:
    from devtools.benchmarks.outages.cases import Outage

#: From the start of a call to a failure that is answered at once.
_ANSWER_S: Final = 0.005
#: Successes before the outage: more than the breaker remembers.
_SUCCESSES: Final = 100
_ARRIVAL, _FAILURE, _END, _WAKE = range(4)


def explained_calls(outage: Outage, seconds: float, rate: float, max_in_flight: int, timeout_s: float) -> int:
    """Calls in vain during an outage of `seconds`: those before the breaker opens, and one probe each open period.

    Messages arrive in groups, each as many as the admission lets begin together.

    Args:
        max_in_flight: concurrent calls of the worker.
        timeout_s: limit of one call.
    """
    breaker, waiting, in_flight, calls = Breaker(), 0, 0, 0
    for _ in range(_SUCCESSES):
        breaker.succeeded(0.0)
    events: list[tuple[float, int, int]] = []
    order = count()

    def add(at: float, event: int) -> None:
        # Events of the same moment happen in this order: one call fails and ends before the next one fails.
        heapq.heappush(events, (at, next(order), event))

    add(0.0, _ARRIVAL)
    while events and events[0][0] < seconds:
        now, _, event = heapq.heappop(events)
        if event == _ARRIVAL:
            waiting += ceil(rate * AHEAD_S)
            add(now + AHEAD_S, _ARRIVAL)
        elif event == _FAILURE:
            breaker.failed(now, outage.retry_after_s)
            if breaker.open_until is not None:
                add(breaker.open_until, _WAKE)
        elif event == _END:
            in_flight -= 1
        while waiting and in_flight < breaker.limit(max_in_flight, now):
            waiting, in_flight, calls = waiting - 1, in_flight + 1, calls + 1
            failure_s, end_s = (_ANSWER_S, _ANSWER_S) if outage.is_answered else (LATE_S, timeout_s)
            add(now + failure_s, _FAILURE)
            add(now + end_s, _END)
    return calls
