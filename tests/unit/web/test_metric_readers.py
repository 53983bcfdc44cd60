"""Counts and quantiles are read from metrics."""

from prometheus_client import Counter, Histogram

from notify_streams.metrics import BatchHistogram
from notify_streams.web.metric_readers import counts, times
from notify_streams.web.wording import duration, number, quantile


def test_counts_by_label_values() -> None:
    counter = Counter("c", "…", ["channel", "state"], registry=None)
    counter.labels("push", "sent").inc(3)
    counter.labels("email", "failed").inc()
    assert counts(counter) == {("push", "sent"): 3, ("email", "failed"): 1}


def test_a_quantile_is_the_upper_bound_of_its_bucket() -> None:
    histogram = Histogram("h", "…", ["lane"], registry=None, buckets=(0.001, 0.01, 0.1))
    for value in [0.0005] * 98 + [0.05] * 2:
        histogram.labels("critical").observe(value)
    found = times(histogram)[("critical",)]
    assert (found.count, found.p50_ms, found.p99_ms) == (100, 1.0, 100.0)
    assert found.mean_ms is not None
    assert abs(found.mean_ms - 1.49) < 0.001


def test_a_bucket_that_ends_exactly_at_the_share() -> None:
    histogram = BatchHistogram("s", "…", (0.001, 0.01))
    histogram.observe(0.0005, 99)
    histogram.observe(0.005, 1)
    assert times(histogram)[()].p99_ms == 1.0


def test_a_quantile_above_all_bounds() -> None:
    histogram = BatchHistogram("b", "…", (0.001, 0.01))
    histogram.observe(5.0, 10)
    found = times(histogram)[()]
    assert (found.count, found.p99_ms, found.largest_ms) == (10, None, 10.0)
    assert quantile(found.p99_ms, found) == "> 10 ms"


def test_a_histogram_without_observations() -> None:
    found = times(BatchHistogram("e", "…", (0.001,)))[()]
    assert (found.count, found.mean_ms, found.p50_ms, found.p99_ms) == (0, None, None, None)
    assert quantile(found.p99_ms, found) == "—"


def test_formats() -> None:
    assert number(1234567) == "1,234,567"
    assert number(None) == "—"
    assert [duration(one) for one in (0.04, 59.6, 61, 3600, 93784.2)] == [
        "0.0 s",
        "1 min 0 s",
        "1 min 1 s",
        "1 h 0 min",
        "1 d 2 h",
    ]
