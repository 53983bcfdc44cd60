"""Report of `bench latency`: medians over the rounds against goals."""

from __future__ import annotations

from dataclasses import asdict
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from devtools.benchmarks import results
from devtools.benchmarks.results import Goal, figure
from notify_streams.roles import LANES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from devtools.load.decision_histogram import DecisionHistogram
    from devtools.percentiles import Percentiles

BASELINE: Final = "baseline"
GOALS_MS: Final = {"p50": Goal("under", 15.0), "p99": Goal("under", 50.0)}
#: At this rate a batch seldom has more than one trigger, so each trigger pays for a request to Redis of its own.
DECISION_US: Final = Goal("under", 2_000.0)


def report(
    runs: Mapping[str, Sequence[Percentiles]], decisions: Mapping[str, DecisionHistogram], load_average: Sequence[float]
) -> dict[str, Any]:
    """`runs`: for each lane and `BASELINE` the percentiles of each round. `decisions`: for each lane."""
    figures = []
    for lane in LANES:
        for name in ("p50", "p90", "p99", "max"):
            ours, reference = (median(getattr(one, name) for one in runs[case]) for case in (lane, BASELINE))
            figures.append(figure(f"{lane} router, {name}", ours, "ms", GOALS_MS.get(name), BASELINE, reference))
        figures.append(figure(f"{lane} triggers timed", sum(one.count for one in runs[lane]), "triggers"))
        p99_us = decisions[lane].p99_us()
        figures.append(figure(f"{lane} decision, p99 of the workers' histograms", p99_us, "us", DECISION_US))
    rounds = {name: [asdict(one) for one in found] for name, found in runs.items()}
    return results.report(figures, machine={"load_average": list(load_average)}, rounds=rounds)
