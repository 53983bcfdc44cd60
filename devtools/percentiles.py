"""Percentiles of measured durations, by nearest rank."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

from notify_streams.errors import NotifyError

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Milliseconds, except `count`."""

    count: int
    p50: float
    p90: float
    p99: float
    max: float


def percentiles_of(seconds: Sequence[float]) -> Percentiles:
    """Each percentile is one of the measured values; nothing is interpolated.

    Raises:
        NotifyError: nothing was measured.
    """
    if not seconds:
        raise NotifyError("nothing was measured: no figure")
    ranked = sorted(seconds)

    def at(percent: int) -> float:
        return round(1000 * ranked[ceil(percent * len(ranked) / 100) - 1], 2)

    return Percentiles(len(ranked), at(50), at(90), at(99), at(100))
