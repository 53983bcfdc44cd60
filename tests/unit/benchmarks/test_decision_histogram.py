"""Workers' histograms of decisions: joined, compared, and their 99th percentile."""

import math

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from devtools.load.decision_histogram import DecisionHistogram, decisions_in, merged
from notify_streams.metrics import BatchHistogram


def test_several_workers_are_one() -> None:
    both = merged([DecisionHistogram(1.0, 10, {0.1: 9, 0.2: 10}), DecisionHistogram(2.0, 10, {0.1: 10, 0.2: 10})])
    assert both == DecisionHistogram(3.0, 20, {0.1: 19, 0.2: 20})


def test_what_was_decided_since_is_the_difference() -> None:
    assert DecisionHistogram(3.0, 20, {0.1: 19}) - DecisionHistogram(1.0, 5, {0.1: 5}) == DecisionHistogram(
        2.0, 15, {0.1: 14}
    )


def test_slower_than_every_edge_is_no_figure_below_one() -> None:
    assert DecisionHistogram(9.0, 100, {0.1: 98}).p99_us() == math.inf


def test_a_worker_s_own_text_is_read() -> None:
    histogram = BatchHistogram("notify_decision_seconds", "Time to decide one trigger", (0.001, 0.002))
    histogram.observe(0.0005, 99)
    histogram.observe(0.0015, 1)
    registry = CollectorRegistry()
    registry.register(histogram)
    found = decisions_in(generate_latest(registry).decode())
    assert (found.count, found.within[0.001], found.p99_us()) == (100, 99, 1000)
    assert found.seconds == pytest.approx(0.051)
