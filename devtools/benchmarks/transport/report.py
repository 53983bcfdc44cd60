"""What the benchmark must show: every figure, what it is measured against, and the goal.

In: measured values by contestant. Out: figures that hold or do not. No I/O.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Goal:
    """One row of the table: `contestant` against `reference`, or against a number."""

    name: str
    unit: str
    contestant: str
    #: None: the goal is an absolute one.
    reference: str | None
    goal: float
    #: Whether the ratio (or the value) must be at least or at most the goal.
    sense: Literal["at least", "at most"]


GOALS = (
    Goal("no-op agent", "records/s", "read batched", "read bare aiokafka", 0.85, "at least"),
    Goal("no-op agent, against stock Faust", "records/s", "read batched", "read stock Faust", 40, "at least"),
    Goal("consume and produce, acks=all", "records/s", "copy batched", "copy bare aiokafka", 0.85, "at least"),
    Goal("consume and produce, against librdkafka", "records/s", "copy batched", "copy librdkafka", 0.8, "at least"),
    Goal("recovery in memory", "keys/s", "recover batched memory", "recover stock memory", 40, "at least"),
    Goal("recovery on disk", "keys/s", "recover batched rocks", "recover stock rocks", 20, "at least"),
    Goal("one record at a time at 100/s, p99", "ms", "latency batched", "latency bare aiokafka", 1.5, "at most"),
    Goal("1M rows user to region, in memory", "MB", "memory region memory", None, 150, "at most"),
    Goal("1M rows user to region, on disk", "MB", "memory region rocks", None, 150, "at most"),
    Goal("1M rows user to preferences, in memory", "MB", "memory preferences memory", None, 150, "at most"),
    Goal("1M rows user to preferences, on disk", "MB", "memory preferences rocks", None, 150, "at most"),
)


@dataclass(frozen=True, slots=True)
class Figure:
    name: str
    value: float
    unit: str
    reference: str | None
    reference_value: float | None
    ratio: float | None
    goal: str
    holds: bool


def figure(goal: Goal, runs: Mapping[str, Sequence[float]]) -> Figure:
    """Medians over the rounds, and whether the goal holds."""
    value = median(runs[goal.contestant])
    reference = median(runs[goal.reference]) if goal.reference is not None else None
    ratio = value / reference if reference else None
    judged = ratio if ratio is not None else value
    holds = judged >= goal.goal if goal.sense == "at least" else judged <= goal.goal
    of = " x reference" if goal.reference is not None else f" {goal.unit}"
    return Figure(
        goal.name,
        round(value, 2),
        goal.unit,
        goal.reference,
        None if reference is None else round(reference, 2),
        None if ratio is None else round(ratio, 3),
        f"{goal.sense} {goal.goal:g}{of}",
        holds,
    )


def report(
    runs: Mapping[str, Sequence[float]],
    machine: Mapping[str, Any],
    versions: Mapping[str, str],
    goals: Sequence[Goal] = GOALS,
) -> dict[str, Any]:
    """The benchmark's answer, in the shape that scripts rely on. Goals that were not run are left out."""
    figures = [
        figure(goal, runs)
        for goal in goals
        if goal.contestant in runs and (goal.reference is None or goal.reference in runs)
    ]
    return {
        "holds": bool(figures) and all(found.holds for found in figures),
        "figures": [asdict(found) for found in figures],
        "machine": dict(machine),
        "versions": dict(versions),
    }
