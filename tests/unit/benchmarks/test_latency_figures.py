"""`bench latency`: medians, goals, and the reference beside each."""

from typing import Any

import pytest

from devtools.benchmarks.latency.report import BASELINE, report
from devtools.load.decision_histogram import DecisionHistogram
from devtools.percentiles import Percentiles


def a_spread(**but: Any) -> Percentiles:
    return Percentiles(**({"count": 10, "p50": 8.0, "p90": 20.0, "p99": 40.0, "max": 60.0} | but))


def decided(*, slow: int = 0) -> DecisionHistogram:
    return DecisionHistogram(0.1, 1000, {0.0005: 900, 0.0015: 1000 - slow, 0.002: 1000})


def a_report(decisions: Any = None, **but: Any) -> Any:
    runs = {name: [a_spread()] for name in ("standard", "critical", BASELINE)}
    spreads = runs | {name.replace("_", " "): spreads for name, spreads in but.items()}
    return report(spreads, {"standard": decided(), "critical": decisions or decided()}, (0.1, 0.2, 0.3))


def figure(found: Any, name: Any) -> Any:
    return next(one for one in found["figures"] if one["name"] == name)


def test_both_lanes_have_every_percentile_and_the_count() -> None:
    names = {one["name"] for one in a_report()["figures"]}
    expected = {f"{lane} router, {name}" for lane in ("critical", "standard") for name in ("p50", "p90", "p99", "max")}
    more = {
        f"{lane} {what}"
        for lane in ("critical", "standard")
        for what in ("triggers timed", "decision, p99 of the workers' histograms")
    }
    assert names == expected | more


def test_the_median_of_the_rounds_counts() -> None:
    found = a_report(standard=[a_spread(p50=9.0), a_spread(p50=99.0), a_spread(p50=11.0)])
    assert figure(found, "standard router, p50")["value"] == 11.0
    assert figure(found, "standard triggers timed")["value"] == 30


def test_the_reference_of_the_same_run_stands_beside_it() -> None:
    one = figure(a_report(baseline=[a_spread(p99=80.0)]), "critical router, p99")
    assert (one["reference"], one["reference_value"], one["ratio"]) == (BASELINE, 80.0, 0.5)


@pytest.mark.parametrize(
    ("but", "holds"),
    [
        ({}, True),
        ({"standard": [a_spread(p50=14.99, p99=49.99)]}, True),
        ({"standard": [a_spread(p50=15.0)]}, False),
        ({"standard": [a_spread(p99=50.0)]}, False),
        ({"critical": [a_spread(p99=50.0)]}, False),
        ({"standard": [a_spread(p90=500.0, max=900.0)]}, True),
        ({"baseline": [a_spread(p50=900.0, p99=900.0)]}, True),
    ],
    ids=["all", "just", "p50", "p99", "critical", "no goal for p90 and max", "the reference has no goal"],
)
def test_it_holds_only_below_both_goals_in_both_lanes(but: Any, holds: bool) -> None:
    assert a_report(**but)["holds"] is holds


def test_a_decision_s_p99_is_the_edge_that_99_of_100_did_not_exceed() -> None:
    assert figure(a_report(), "critical decision, p99 of the workers' histograms")["value"] == 1500
    assert a_report(decided(slow=10))["holds"]
    assert not a_report(decided(slow=11))["holds"]
