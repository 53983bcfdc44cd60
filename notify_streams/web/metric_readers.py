"""Reads counts and times from this process's metrics."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prometheus_client.registry import Collector

Labels = tuple[str, ...]


class Times(msgspec.Struct, frozen=True):
    """Values of a histogram of seconds. A quantile is its bucket's upper bound; None without observations or above all bounds."""

    count: int
    mean_ms: float | None
    p50_ms: float | None
    p99_ms: float | None
    #: The largest bound. A quantile of None is larger if `count` is not 0.
    largest_ms: float


def counts(counter: Collector) -> dict[Labels, int]:
    """The values of a counter by its label values."""
    return {
        tuple(sample.labels.values()): int(sample.value)
        for family in counter.collect()
        for sample in family.samples
        if sample.name.endswith("_total")
    }


def times(histogram: Collector) -> dict[Labels, Times]:
    """The values of a histogram by its label values; ``()`` for a histogram without labels."""
    buckets: dict[Labels, list[tuple[float, float]]] = {}
    sums: dict[Labels, float] = {}
    for family in histogram.collect():
        for sample in family.samples:
            labels = tuple(value for name, value in sample.labels.items() if name != "le")
            if sample.name.endswith("_bucket"):
                buckets.setdefault(labels, []).append((float(sample.labels["le"]), sample.value))
            elif sample.name.endswith("_sum"):
                sums[labels] = sample.value
    return {labels: times_of_buckets(found, sums.get(labels, 0.0)) for labels, found in buckets.items()}


def bucket_counts(histogram: Collector) -> dict[Labels, dict[str, int]]:
    """The cumulative counts of a histogram, upper bound → count, by its label values."""
    found: dict[Labels, dict[str, int]] = {}
    for family in histogram.collect():
        for sample in family.samples:
            if sample.name.endswith("_bucket"):
                labels = tuple(value for name, value in sample.labels.items() if name != "le")
                found.setdefault(labels, {})[sample.labels["le"]] = int(sample.value)
    return found


def times_of_buckets(cumulative: Sequence[tuple[float, float]], sum_s: float) -> Times:
    """From ascending (upper bound in seconds, cumulative count); the last bound is infinite."""
    count = int(cumulative[-1][1])
    largest_ms = max(bound for bound, _ in cumulative if bound != inf) * 1000
    mean_ms = round(sum_s / count * 1000, 4) if count else None
    return Times(count, mean_ms, _quantile_ms(cumulative, 0.5), _quantile_ms(cumulative, 0.99), largest_ms)


def _quantile_ms(cumulative: Sequence[tuple[float, float]], share: float) -> float | None:
    wanted = share * cumulative[-1][1]
    bound = next((bound for bound, count in cumulative if count and count >= wanted), inf)
    return None if bound == inf else round(bound * 1000, 4)
