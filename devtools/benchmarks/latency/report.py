"""What `bench latency` says: medians over the rounds, and whether the goals hold. Spreads in, the report out; no I/O."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any, Final

from notify_streams.roles import LANES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from devtools.load.decision_histogram import DecisionHistogram
    from devtools.percentiles import Percentiles

REFERENCE: Final = "bare loop"
#: Every figure stays below these, in milliseconds; the others are told without a goal.
GOALS_MS: Final = {"p50": 15.0, "p99": 50.0}
#: Hardly any batch has more than one trigger at this rate, so each pays for a look at Redis of its own.
DECISION_US: Final = 2_000.0
_QUANTILES: Final = ("p50", "p90", "p99", "max")


def report(
    runs: Mapping[str, Sequence[Percentiles]],
    decisions: Mapping[str, DecisionHistogram],
    machine: Mapping[str, Any],
    versions: Mapping[str, str],
) -> dict[str, Any]:
    """`runs`: the spreads of each contestant (the lanes, `REFERENCE`), one a round. `decisions`: those of each lane."""
    figures = []
    for lane in LANES:
        figures += [_quantile(lane, name, runs) for name in _QUANTILES]
        count = sum(one.count for one in runs[lane])
        figures.append(_figure(f"{lane} triggers timed", count, "triggers", None, None))
        p99_us = decisions[lane].p99_us()
        figures.append(_figure(f"{lane} decision, p99 of the workers' histograms", p99_us, "us", None, DECISION_US))
    return {
        "holds": all(one["holds"] for one in figures),
        "figures": figures,
        "rounds": {name: [_as_dict(one) for one in spreads] for name, spreads in runs.items()},
        "machine": dict(machine),
        "versions": dict(versions),
    }


def _quantile(lane: str, name: str, runs: Mapping[str, Sequence[Percentiles]]) -> dict[str, Any]:
    value = median(getattr(one, name) for one in runs[lane])
    reference = median(getattr(one, name) for one in runs[REFERENCE])
    return _figure(f"{lane} router, {name}", value, "ms", reference, GOALS_MS.get(name))


def _figure(name: str, value: float, unit: str, reference: float | None, goal: float | None) -> dict[str, Any]:
    return {
        "name": name,
        "value": value,
        "unit": unit,
        "reference": None if reference is None else REFERENCE,
        "reference_value": reference,
        "ratio": round(value / reference, 3) if reference else None,
        "goal": None if goal is None else f"under {goal:g} {unit}",
        "holds": goal is None or value < goal,
    }


def _as_dict(one: Percentiles) -> dict[str, float]:
    return {"count": one.count} | {name: getattr(one, name) for name in _QUANTILES}
