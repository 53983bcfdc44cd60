"""Rules about counts and times: what is late, grows or fails too often."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from notify_streams.roles import lane_of
from notify_streams.web.verdict.problem import FoundProblem, ProblemCode
from notify_streams.web.wording import duration, number

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from notify_streams.web.verdict.observation import Observation, Rates

#: The mission's limit from a critical trigger's entry to the provider call.
CRITICAL_S: Final = 2.0
OUTBOX_S: Final = 20.0
OVERDUE_S: Final = 30.0
#: Of ended deliveries that may fail, of triggers that may be dead letters; and a number that is too few to speak of.
_FAILED_SHARE: Final = 0.05
_DEAD_SHARE: Final = 0.01
_FEW: Final = 5
#: A lag below this is worked off in a moment.
_MIN_LAG: Final = 1_000
#: A lag grows if it has grown by this share since `lag_before`, or by so many records: at a steady pace the share becomes ever smaller.
_GROWTH: Final = 0.1
_GROWTH_RECORDS: Final = 1_000


def trend_problems(seen: Observation) -> Iterator[FoundProblem]:
    """What is late, grows or fails too often."""
    if seen.rates is not None:
        yield from _failures(seen.rates)
        p99_s = seen.rates.critical_p99_s
        if p99_s is not None and p99_s > CRITICAL_S:
            text = (
                f"One critical message in a hundred takes longer than {duration(p99_s)} to its provider; "
                f"the limit is {duration(CRITICAL_S)}.{_farthest_behind(seen.lag)}"
            )
            yield FoundProblem(ProblemCode.CRITICAL_SLOW, "critical messages", text)
    if seen.outbox is not None and seen.outbox.oldest_s > OUTBOX_S:
        text = f"{number(seen.outbox.rows)} decided messages wait to be published, the oldest for {duration(seen.outbox.oldest_s)}."
        yield FoundProblem(ProblemCode.OUTBOX_AGE, "outbox", text)
    if seen.overdue_s is not None and seen.overdue_s > OVERDUE_S:
        text = f"The oldest retry that is due has waited for {duration(seen.overdue_s)}."
        yield FoundProblem(ProblemCode.TIMERS_LATE, "timers", text)
    for role, lag in seen.lag.items():
        before = seen.lag_before.get(role)
        if before is not None and lag > _MIN_LAG and lag - before > min(before * _GROWTH, _GROWTH_RECORDS):
            text = f"The role {role} is {number(lag)} records behind, {number(lag - before)} more than before."
            yield FoundProblem(ProblemCode.LAG, f"role {role}", text)


def _farthest_behind(lag: Mapping[str, int]) -> str:
    """A sentence on the critical role that has the most records to process; empty if none has any."""
    role = max((one for one in lag if lane_of(one) == "critical"), key=lag.__getitem__, default=None)
    return f" The role {role} is {number(lag[role])} records behind." if role is not None and lag[role] else ""


def _failures(rates: Rates) -> Iterator[FoundProblem]:
    dead = sum(rates.dead.values())
    if dead > _DEAD_SHARE * rates.triggers + _FEW:
        reason = max(rates.dead, key=lambda one: rates.dead[one])
        text = f"{number(dead)} of {number(rates.triggers)} triggers became dead letters in {duration(rates.window_s)}, most as {reason}."
        yield FoundProblem(ProblemCode.DEAD_LETTERS, "dead letters", text)
    for channel, failed in sorted(rates.failed.items()):
        ended = rates.ended.get(channel, 0)
        if failed > _FAILED_SHARE * ended + _FEW:
            text = f"{number(failed)} of {number(ended)} deliveries by {channel} failed or expired in {duration(rates.window_s)}."
            yield FoundProblem(ProblemCode.DELIVERY_FAILURES, channel, text)
