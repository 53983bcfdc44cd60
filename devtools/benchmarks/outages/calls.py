"""What the sandbox's call log says about an outage."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, Final

from devtools.sandbox.fault_injection import Action

if TYPE_CHECKING:
    from collections.abc import Sequence

    from devtools.sandbox.call_log import ReceivedCall

#: Calls that were under way when the provider asked to wait arrive within this time.
UNDER_WAY_S: Final = 1.0
WINDOW_S: Final = 2.0
_STEP_S: Final = 0.1
_BACK: Final = 0.9
_ACCEPTED: Final = (Action.ACCEPT.value, Action.ACCEPT_AND_LOSE_ANSWER.value)


def calls_in_vain(calls: Sequence[ReceivedCall]) -> int:
    """Calls without the first acceptance of each delivery."""
    return len(calls) - len({one.delivery_id for one in calls if one.action in _ACCEPTED})


def first_fault(calls: Sequence[ReceivedCall]) -> float | None:
    """When the first call arrived that was not simply accepted."""
    return min((one.at for one in calls if one.action != Action.ACCEPT.value), default=None)


def early_calls(calls: Sequence[ReceivedCall], own_delay_s: float, retry_after_s: float | None) -> int:
    """Calls before the time for which the policy or the provider asked.

    Args:
        own_delay_s: no delivery is tried again earlier than this after a call in vain.
        retry_after_s: the provider asks for no call at all so long, except those that were under way.
    """
    ordered = sorted(calls, key=lambda one: one.at)
    times = [one.at for one in ordered]
    early: set[int] = set()
    last: dict[str, float] = {}
    for number, one in enumerate(ordered):
        before = last.get(one.delivery_id)
        if before is not None and one.at < before + max(own_delay_s, retry_after_s or 0.0):
            early.add(number)
        if one.action != Action.ACCEPT.value:
            last[one.delivery_id] = one.at
            if retry_after_s is not None:
                first, end = bisect_right(times, one.at + UNDER_WAY_S), bisect_left(times, one.at + retry_after_s)
                early.update(range(first, end))
    return len(early)


def back_after_s(accepted_at: Sequence[float], since: float, until: float, rate: float) -> float | None:
    """Seconds from `since` to the end of the first 2 s with 0.9 of `rate` acceptances a second; None if there is none before `until`."""
    moments = sorted(accepted_at)
    for step in range(int((until - since - WINDOW_S) / _STEP_S + 1)):
        begin = since + step * _STEP_S
        if bisect_left(moments, begin + WINDOW_S) - bisect_left(moments, begin) >= _BACK * rate * WINDOW_S:
            return begin + WINDOW_S - since
    return None
