"""What a worker's `/metrics` say of its decisions. In: its address; out: how many, how long together, and the 99th percentile."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

_NAME: Final = "notify_decision_seconds"
_TIMEOUT_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class DecisionHistogram:
    """A histogram of seconds a trigger."""

    seconds: float = 0.0
    count: float = 0.0
    #: Upper edge -> how many took at most that.
    within: dict[float, float] = field(default_factory=dict)

    def __sub__(self, earlier: DecisionHistogram) -> DecisionHistogram:
        """What was decided since `earlier`, by the same worker."""
        within = {edge: count - earlier.within.get(edge, 0.0) for edge, count in self.within.items()}
        return DecisionHistogram(self.seconds - earlier.seconds, self.count - earlier.count, within)

    def p99_us(self) -> float:
        """The edge that 99 of 100 decisions did not exceed, in microseconds: the histogram knows no finer answer."""
        edges = (edge for edge, count in sorted(self.within.items()) if count >= 0.99 * self.count)
        return 1e6 * next(edges, math.inf)


def together(parts: Sequence[DecisionHistogram]) -> DecisionHistogram:
    """The decisions of several workers."""
    edges = {edge for part in parts for edge in part.within}
    return DecisionHistogram(
        sum(part.seconds for part in parts),
        sum(part.count for part in parts),
        {edge: sum(part.within.get(edge, 0.0) for part in parts) for edge in edges},
    )


async def read_decisions(url: str) -> DecisionHistogram:
    """The decisions of the worker whose views are at `url`, since it started.

    Raises:
        aiohttp.ClientError, TimeoutError: it does not answer.
    """
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
    async with aiohttp.ClientSession(timeout=timeout) as http, http.get(f"{url}/metrics") as answer:
        return decisions_in(await answer.text())


def decisions_in(exposition: str) -> DecisionHistogram:
    """The decisions that a worker's metrics tell of."""
    seconds = count = 0.0
    within: dict[float, float] = {}
    for family in text_string_to_metric_families(exposition):
        if family.name != _NAME:
            continue
        for sample in family.samples:
            if sample.name == f"{_NAME}_sum":
                seconds = sample.value
            elif sample.name == f"{_NAME}_count":
                count = sample.value
            elif sample.name == f"{_NAME}_bucket":
                within[float(sample.labels["le"])] = sample.value
    return DecisionHistogram(seconds, count, within)
