"""Pauses of partitions in a rolling restart, and the report of `bench rebalance`."""

from __future__ import annotations

import pytest

from devtools.benchmarks.rebalance import Rolling, figures, pauses


def test_a_pause_is_the_longest_time_without_progress_within_a_restart() -> None:
    progress = {0: [9.0, 10.5, 13.0, 14.0, 19.9], 1: [10.1, 10.2]}
    assert pauses(progress, [(10.0, 15.0)]) == [2.5, pytest.approx(4.8)]


def test_a_partition_that_stands_still_pauses_for_the_whole_of_each_restart() -> None:
    assert pauses({0: []}, [(10.0, 15.0), (20.0, 21.0)]) == [5.0, 1.0]


def test_a_pause_across_the_beginning_counts_from_the_signal() -> None:
    """What was before it is not the restart's."""
    assert pauses({0: [1.0, 11.0, 12.0]}, [(10.0, 12.5)]) == [1.0]


def test_the_figures_are_over_all_partitions_and_rounds() -> None:
    rolls = [Rolling([0.1, 0.2, 3.0], [5.0], 2), Rolling([0.1, 0.1, 0.1], [7.0], 2)]
    found = {one.name.removeprefix("static members: "): one.value for one in figures("static", rolls)}
    assert found == {
        "pause of a partition, p50": 100.0,
        "pause of a partition, p99": 3000.0,
        "pause of a partition, max": 3000.0,
        "mean pause": 600.0,
        "paused for over a second": 16.67,
        "worker ready again after, median": 5000.0,
        "rebalances of a restart": 2.0,
    }
