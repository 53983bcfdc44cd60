"""Formats numbers, durations and quantiles for the dashboard."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from notify_streams.web.metric_readers import Times

UNKNOWN = "—"


def number(value: int | None) -> str:
    """1234567 -> 1,234,567; None -> a dash."""
    return UNKNOWN if value is None else f"{value:,}"


def duration(seconds: float | None) -> str:
    """In the two largest units: 93784.2 -> 1 d 2 h; with one decimal below 10 s."""
    if seconds is None:
        return UNKNOWN
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for unit, part, size, of_part in (("d", "h", 86_400, 3_600), ("h", "min", 3_600, 60), ("min", "s", 60, 1)):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // of_part} {part}"
    return f"{whole} s"


def quantile(value_ms: float | None, times: Times) -> str:
    """A quantile as the upper bound of its histogram bucket."""
    if not times.count:
        return UNKNOWN
    return f"> {_ms(times.largest_ms)}" if value_ms is None else f"≤ {_ms(value_ms)}"


def _ms(value: float) -> str:
    return f"{value / 1000:g} s" if value >= 1000 else f"{value:g} ms"
