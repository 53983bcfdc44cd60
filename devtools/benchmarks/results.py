"""Benchmark results: figures, their goals, the JSON report, the exit status."""

from __future__ import annotations

import logging
import os
import platform
from dataclasses import asdict, dataclass
from importlib.metadata import version
from statistics import median
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn

from notify_streams.cli.output import print_result, run_async

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence

    from devtools.percentiles import Percentiles

PACKAGES: Final = ("faust-streaming", "aiokafka", "pymongo", "msgspec")


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound of a figure's value, or of its ratio to the reference."""

    sense: Literal["at least", "at most", "under"]
    limit: float
    of_ratio: bool = False

    def holds(self, value: float) -> bool:
        if self.sense == "at least":
            return value >= self.limit
        return value < self.limit if self.sense == "under" else value <= self.limit


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of a report. Its fields are the JSON keys that scripts read."""

    name: str
    value: float
    unit: str
    reference: str | None = None
    reference_value: float | None = None
    ratio: float | None = None
    goal: str | None = None
    holds: bool = True


def figure(
    name: str,
    value: float,
    unit: str,
    goal: Goal | None = None,
    reference: str | None = None,
    reference_value: float | None = None,
    ratio: float | None = None,
) -> Figure:
    """Judge a measured value. `ratio`: by default `value / reference_value`. Rounds after judging."""
    if ratio is None and reference_value:
        ratio = value / reference_value
    holds, wanted = True, None
    if goal is not None:
        judged = ratio if goal.of_ratio else value
        holds = judged is not None and goal.holds(judged)
        wanted = f"{goal.sense} {goal.limit:g} {'x reference' if goal.of_ratio else unit}"
    return Figure(
        name, _rounded(value, 2), unit, reference, _rounded(reference_value, 2), _rounded(ratio, 3), wanted, holds
    )


def _rounded(value: float | None, digits: int) -> Any:
    return None if value is None else round(value, digits)


@dataclass(frozen=True, slots=True)
class Target:
    """What a benchmark must show for one of its cases; `reference`: the case that it is compared with."""

    name: str
    unit: str
    case: str
    reference: str | None
    goal: Goal


def figures_of(targets: Iterable[Target], runs: Mapping[str, Sequence[float]]) -> list[Figure]:
    """Judge the medians over the rounds. `runs`: case -> one value a round. Targets whose cases did not run are left out."""
    return [
        figure(target.name, median(runs[target.case]), target.unit, target.goal)
        if target.reference is None
        else beside(target.name, runs[target.case], target.unit, target.goal, target.reference, runs[target.reference])
        for target in targets
        if target.case in runs and (target.reference is None or target.reference in runs)
    ]


def beside(
    name: str,
    values: Sequence[float],
    unit: str,
    goal: Goal | None,
    reference: str,
    references: Sequence[float],
) -> Figure:
    """Judge the median of the rounds' ratios. `values`, `references`: one a round.

    The values of one round are measured shortly after each other; from round to round the speed of a shared machine changes.
    """
    ratios = [one / other for one, other in zip(values, references, strict=True)]
    return figure(name, median(values), unit, goal, reference, median(references), median(ratios))


def percentile_figures(name: str, found: Percentiles, p99: Goal | None = None) -> list[Figure]:
    """Median, 99th percentile (with a goal) and maximum, in milliseconds."""
    return [
        figure(f"{name}, p50", found.p50, "ms"),
        figure(f"{name}, p99", found.p99, "ms", p99),
        figure(f"{name}, max", found.max, "ms"),
    ]


def report(
    figures: Sequence[Figure],
    *,
    machine: Mapping[str, Any] | None = None,
    packages: Sequence[str] = PACKAGES,
    **more: Any,
) -> dict[str, Any]:
    """The JSON object of a benchmark; `machine` and `more` are added to it. Without any figure nothing holds."""
    return {
        "holds": bool(figures) and all(one.holds for one in figures),
        "figures": [asdict(one) for one in figures],
        "machine": {
            "cores": os.cpu_count(),
            "system": platform.platform(),
            "python": platform.python_version(),
            **(machine or {}),
        },
        "versions": {name: version(name) for name in packages},
        **more,
    }


def line_of(row: dict[str, Any]) -> str:
    """A figure of a report as one line of text."""
    state = "      " if row["goal"] is None else "holds:" if row["holds"] else "misses:"
    ratio = "" if row["ratio"] is None else f"{row['ratio']:g} x "
    beside = "" if row["reference"] is None else f" ({ratio}{row['reference']}: {row['reference_value']:,})"
    goal = "" if row["goal"] is None else f"; goal {row['goal']}"
    return f"{state} {row['name']} {row['value']:,} {row['unit']}{beside}{goal}"


def conclude(
    measuring: Coroutine[Any, Any, dict[str, Any]],
    as_json: bool,
    line: Callable[[dict[str, Any]], str] = line_of,
    rows: str = "figures",
) -> NoReturn:
    """Measure, print the report as JSON or a `line` for each of its `rows`, exit 0 only if it holds."""
    # Brokers are started and stopped on purpose. aiokafka retries by itself, and a lasting failure is raised.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    found = run_async(measuring)
    print_result(as_json, found, [line(row) for row in found[rows]])
    raise SystemExit(0 if found["holds"] else 1)
