"""Reads the histogram of decision times from workers' `/metrics`."""

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
    """Seconds per decided trigger."""

    seconds: float = 0.0
    count: float = 0.0
    #: Bucket bound in seconds -> decisions that took at most that.
    within: dict[float, float] = field(default_factory=dict)

    def __sub__(self, earlier: DecisionHistogram) -> DecisionHistogram:
        """The decisions since `earlier`, of the same worker."""
        within = {edge: count - earlier.within.get(edge, 0.0) for edge, count in self.within.items()}
        return DecisionHistogram(self.seconds - earlier.seconds, self.count - earlier.count, within)

    def p99_us(self) -> float:
        """The smallest bucket bound that 99 % of the decisions did not exceed, in microseconds; infinite above the last bound."""
        edges = (edge for edge, count in sorted(self.within.items()) if count >= 0.99 * self.count)
        return 1e6 * next(edges, math.inf)


def merged(parts: Sequence[DecisionHistogram]) -> DecisionHistogram:
    """The decisions of several workers as one histogram."""
    edges = {edge for part in parts for edge in part.within}
    return DecisionHistogram(
        sum(part.seconds for part in parts),
        sum(part.count for part in parts),
        {edge: sum(part.within.get(edge, 0.0) for part in parts) for edge in edges},
    )


async def read_decisions(url: str) -> DecisionHistogram:
    """The decisions since its start of the worker with its web views at `url`.

    Raises:
        aiohttp.ClientError, TimeoutError: no response.
    """
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
    async with aiohttp.ClientSession(timeout=timeout) as http, http.get(f"{url}/metrics") as response:
        return decisions_in(await response.text())


def decisions_in(exposition: str) -> DecisionHistogram:
    """The histogram in a Prometheus exposition; empty if it has none."""
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
