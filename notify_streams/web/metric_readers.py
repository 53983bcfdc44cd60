"""Plain numbers out of this process's metrics: counts by label, and what a histogram says of times."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prometheus_client.registry import Collector

Labels = tuple[str, ...]


class Times(msgspec.Struct, frozen=True):
    """What a histogram of seconds says. A quantile is the upper bound of its bucket: None if nothing was seen, or it is above all bounds."""

    count: int
    mean_ms: float | None
    p50_ms: float | None
    p99_ms: float | None
    #: The largest bound: what a quantile of None with a count is above of.
    largest_ms: float


def counts(counter: Collector) -> dict[Labels, int]:
    """A counter's values by its labels' values, in the order of the labels."""
    return {
        tuple(sample.labels.values()): int(sample.value)
        for family in counter.collect()
        for sample in family.samples
        if sample.name.endswith("_total")
    }


def times(histogram: Collector) -> dict[Labels, Times]:
    """A histogram of seconds, by its labels' values; the one key of one without labels is ``()``."""
    buckets: dict[Labels, list[tuple[float, float]]] = {}
    sums: dict[Labels, float] = {}
    for family in histogram.collect():
        for sample in family.samples:
            labels = tuple(value for name, value in sample.labels.items() if name != "le")
            if sample.name.endswith("_bucket"):
                buckets.setdefault(labels, []).append((float(sample.labels["le"]), sample.value))
            elif sample.name.endswith("_sum"):
                sums[labels] = sample.value
    return {labels: of_buckets(found, sums.get(labels, 0.0)) for labels, found in buckets.items()}


def of_buckets(cumulative: Sequence[tuple[float, float]], sum_s: float) -> Times:
    """From (upper bound in seconds, observations up to it), bounds growing, the last one infinite."""
    count = int(cumulative[-1][1])
    largest_ms = max(bound for bound, _ in cumulative if bound != inf) * 1000
    mean_ms = round(sum_s / count * 1000, 4) if count else None
    return Times(count, mean_ms, _quantile_ms(cumulative, 0.5), _quantile_ms(cumulative, 0.99), largest_ms)


def _quantile_ms(cumulative: Sequence[tuple[float, float]], share: float) -> float | None:
    wanted = share * cumulative[-1][1]
    bound = next((bound for bound, count in cumulative if count and count >= wanted), inf)
    return None if bound == inf else round(bound * 1000, 4)
