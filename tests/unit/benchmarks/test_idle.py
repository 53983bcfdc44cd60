"""The report of `bench idle`."""

from __future__ import annotations

from devtools.benchmarks.idle import figures


def test_the_workers_are_compared_with_those_of_the_older_checkout() -> None:
    runs = {
        "this": [{"push": 1.0, "views": 1.0, "MongoDB": 9.0}, {"push": 3.0, "views": 1.0, "MongoDB": 7.0}],
        "old": [{"push": 10.0, "MongoDB": 20.0}, {"push": 10.0, "MongoDB": 20.0}],
    }
    workers, push, views, mongodb = figures(runs)
    assert (workers.value, workers.reference_value, workers.ratio, workers.holds) == (3.0, 10.0, 0.3, False)
    assert (push.value, push.ratio) == (2.0, 0.2)
    assert views.reference is None and (mongodb.value, mongodb.ratio) == (8.0, 0.4)


def test_without_an_older_checkout_there_is_no_goal() -> None:
    assert all(one.goal is None for one in figures({"this": [{"push": 1.0}]}))
