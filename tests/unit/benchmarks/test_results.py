"""A figure beside its reference: from rounds on a machine whose speed changes."""

from devtools.benchmarks.results import Goal, beside

GOAL = Goal("at most", 1.15, of_ratio=True)


def test_the_ratio_is_the_median_of_the_rounds_ratios() -> None:
    # The machine becomes slower from round to round. Medians of the values would be 210 and 150.
    found = beside("cost", [110.0, 210.0, 440.0], "us", GOAL, "reference", [100.0, 150.0, 400.0])
    assert (found.value, found.reference_value, found.ratio, found.holds) == (210.0, 150.0, 1.1, True)


def test_a_goal_is_judged_by_it() -> None:
    assert not beside("cost", [120.0, 130.0, 100.0], "us", GOAL, "reference", [100.0, 100.0, 100.0]).holds
