"""Report of `bench outages`: a table, and figures with their goals."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import inf
from typing import TYPE_CHECKING, Any, Final

from devtools.benchmarks import results
from devtools.benchmarks.rates import RecordsMissing
from devtools.benchmarks.results import Figure, Goal, figure, line_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_NONE: Final = Goal("at most", 0)
_EXPLAINED: Final = Goal("at most", 1.1, of_ratio=True)
_OPEN: Final = Goal("at most", 5.0)
_BACK: Final = Goal("at most", 30.0)
#: As in `bench views`: on two processors, measurements of the same case differ by up to a quarter.
_BESIDE: Final = Goal("at most", 1.25, of_ratio=True)
OUTAGE, RECOVERY = "outage", "recovery"
_HEAD: Final = (
    *("outage", "triggers", "accepted", "expired", "failed", "retrying", "calls", "in vain", "explained", "early"),
    *("open s", "back s", "critical p99 ms", "beside CPU", "recovery p99 ms", "beside CPU"),
)


@dataclass(frozen=True, slots=True)
class CriticalLatency:
    """Critical triggers to another provider during one phase, beside the same CPU used by a foreign process."""

    p99_ms: float
    beside_cpu_p99_ms: float
    #: What the phase used more than normal operation.
    processors: float


@dataclass(frozen=True, slots=True)
class OutageResult:
    """What was measured for one outage."""

    name: str
    triggers: int
    #: Delivery state -> deliveries, after the drain.
    states: Mapping[str, int]
    #: Deliveries that waited for a retry when the load ended.
    retrying: int
    #: Received by the sandbox.
    calls: int
    #: Calls of which MongoDB has an attempt.
    attempts: int
    in_vain: int
    #: Of those in vain.
    explained: int
    early: int
    #: None: the breaker did not open.
    opened_s: float | None
    #: None: the rate was not back when the load ended.
    back_s: float | None
    critical: Mapping[str, CriticalLatency]

    def count(self, state: str) -> int:
        return self.states.get(state, 0)

    @property
    def accepted(self) -> int:
        return self.count("sent") + self.count("delivered")


def report(found: Sequence[OutageResult], **more: Any) -> dict[str, Any]:
    """The figures, the cases and the table as lines of text.

    Raises:
        RecordsMissing: a trigger is unaccounted for.
    """
    for one in found:
        known = one.accepted + one.count("expired") + one.count("failed")
        if known != one.triggers:
            raise RecordsMissing(f"{one.name}, deliveries by state {dict(one.states)}", known, one.triggers)
    figures = [each for one in found for each in _figures(one)]
    rows = [_HEAD, *map(_cells, found)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    lines += [line_of(asdict(one)) for one in figures if not one.holds]
    return results.report(
        figures, outages=[asdict(one) for one in found], table=[{"line": line} for line in lines], **more
    )


def _figures(one: OutageResult) -> list[Figure]:
    found = [
        figure(f"{one.name}: failed", one.count("failed"), "deliveries", _NONE),
        figure(f"{one.name}: calls in vain", one.in_vain, "calls", _EXPLAINED, "explained", one.explained),
        figure(f"{one.name}: calls", one.calls, "calls", _EXPLAINED, "explained", one.accepted + one.explained),
        figure(f"{one.name}: calls without a stored attempt", max(0, one.calls - one.attempts), "calls", _NONE),
        figure(f"{one.name}: calls too early", one.early, "calls", _NONE),
        figure(f"{one.name}: breaker open after", inf if one.opened_s is None else one.opened_s, "s", _OPEN),
        figure(f"{one.name}: rate back after", inf if one.back_s is None else one.back_s, "s", _BACK),
    ]
    return found + [
        figure(
            f"{one.name}: critical p99 of another provider, {phase}",
            latency.p99_ms,
            "ms",
            _BESIDE,
            "a process that uses the same CPU",
            latency.beside_cpu_p99_ms,
        )
        for phase, latency in one.critical.items()
    ]


def _cells(one: OutageResult) -> tuple[str, ...]:
    def seconds(value: float | None) -> str:
        return "never" if value is None else f"{value:.1f}"

    counts = one.triggers, one.accepted, one.count("expired"), one.count("failed"), one.retrying, one.calls
    latencies = (one.critical[phase] for phase in (OUTAGE, RECOVERY))
    return (
        one.name,
        *map(str, (*counts, one.in_vain, one.explained, one.early)),
        *map(seconds, (one.opened_s, one.back_s)),
        *(f"{value:.0f}" for each in latencies for value in (each.p99_ms, each.beside_cpu_p99_ms)),
    )
