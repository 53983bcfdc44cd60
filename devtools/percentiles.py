"""Quantiles of what was measured. Values in, one `Percentiles` out; refuses to make a figure of nothing."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

from notify_streams.errors import NotifyError

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Milliseconds, but for `count`."""

    count: int
    p50: float
    p90: float
    p99: float
    max: float


def percentiles_of(seconds: Sequence[float]) -> Percentiles:
    """Each quantile is a value that was measured: the nearest rank, nothing interpolated.

    Raises:
        NotifyError: nothing was measured.
    """
    if not seconds:
        raise NotifyError("nothing was measured: no figure")
    ranked = sorted(seconds)

    def at(percent: int) -> float:
        return round(1000 * ranked[ceil(percent * len(ranked) / 100) - 1], 2)

    return Percentiles(len(ranked), at(50), at(90), at(99), at(100))
