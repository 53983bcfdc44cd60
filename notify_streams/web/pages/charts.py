"""Lays out the charts of the last hour; ``charts.html`` draws them as SVG."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from notify_streams.web.verdict.region_status import Series

#: Of the drawing, in its own units; one is about a pixel.
WIDTH: Final = 380
HEIGHT: Final = 150
LEFT: Final = 52
RIGHT: Final = 8
TOP: Final = 8
BOTTOM: Final = 22
SPAN_S: Final = 3600
_TICKS_S: Final = 1200
#: A line has at most so many points; each is the largest value of its time.
_POINTS: Final = 180
_MAX_LINES: Final = 4
_OTHERS: Final = "others"

Points = list[tuple[int, float | None]]


class ChartLine(NamedTuple):
    """One line: its name, its latest value with unit, and the data of an SVG path."""

    name: str
    latest: str
    path: str


class Chart(NamedTuple):
    """One chart; the ticks are (coordinate, text)."""

    title: str
    unit: str
    #: What the chart shows, in words.
    summary: str
    lines: list[ChartLine]
    rows: list[tuple[float, str]]
    columns: list[tuple[float, str]]


class ChartPlan(NamedTuple):
    """Which series a chart shows. `label`: the label that names a line; None: its name does."""

    title: str
    names: tuple[str, ...]
    label: str | None
    state: str | None = None


PLANS: Final = (
    ChartPlan("Triggers", ("triggers",), "lane"),
    ChartPlan("Deliveries sent", ("deliveries",), "channel", state="sent"),
    ChartPlan("Failures", ("failures",), "kind"),
    ChartPlan("Critical: trigger to provider", ("critical_p99", "critical_p50"), None),
    ChartPlan("Lag", ("lag",), "role"),
    ChartPlan("Outbox", ("outbox",), None),
)
_LINE_NAMES: Final = {
    "critical_p50": "p50",
    "critical_p99": "p99",
    "outbox": "unpublished rows",
    "dead_letter": "dead letters",
}


def charts(found: Sequence[Series], now_s: float) -> list[Chart]:
    """The charts of the hour before `now_s`. One without a known value says so."""
    return [_chart(plan, [one for one in found if _belongs(plan, one)], now_s) for plan in PLANS]


def _belongs(plan: ChartPlan, one: Series) -> bool:
    return one.name in plan.names and (plan.state is None or one.labels.get("state") == plan.state)


def _chart(plan: ChartPlan, found: Sequence[Series], now_s: float) -> Chart:
    start_s = now_s - SPAN_S
    unit = found[0].unit if found else ""
    named: dict[str, Points] = {}
    for one in sorted(found, key=lambda one: plan.names.index(one.name)):
        name = one.name if plan.label is None else one.labels[plan.label]
        named[_LINE_NAMES.get(name, name)] = [point for point in one.points if start_s <= point[0] <= now_s]
    shown = _largest(named)
    top = _round_up(max((value for points in shown.values() for _, value in points if value is not None), default=0.0))
    lines = [
        ChartLine(name, amount(_latest(points), "s" if unit == "s" else ""), _path(_thinned(points), start_s, top))
        for name, points in shown.items()
    ]
    rows = [(_y(top * share, top), amount(top * share, "s" if unit == "s" else "")) for share in (0, 0.5, 1)]
    return Chart(plan.title, unit, _summary(shown, unit), lines, rows, _columns(start_s, now_s))


def _largest(named: dict[str, Points]) -> dict[str, Points]:
    """The largest lines, and the sum of the others."""
    if len(named) <= _MAX_LINES:
        return named
    order = sorted(named, key=lambda name: -max((value or 0.0 for _, value in named[name]), default=0.0))
    rest: dict[int, float | None] = {}
    for name in order[_MAX_LINES - 1 :]:
        for at, value in named[name]:
            known = rest.get(at)
            rest[at] = known if value is None else (known or 0.0) + value
    return {name: named[name] for name in order[: _MAX_LINES - 1]} | {_OTHERS: sorted(rest.items())}


def _thinned(points: Points) -> Points:
    step = math.ceil(len(points) / _POINTS) or 1
    thinned: Points = []
    for begin in range(0, len(points), step):
        part = points[begin : begin + step]
        thinned.append((part[0][0], max((value for _, value in part if value is not None), default=None)))
    return thinned


def _path(points: Points, start_s: float, top: float) -> str:
    """``M`` begins a part of the line; what is not known is a gap."""
    drawn: list[str] = []
    is_open = False
    for at, value in points:
        if value is not None:
            # A part of one point is a dot: the end of a line is round.
            drawn.append(f"{'L' if is_open else 'M'}{_x(at, start_s)} {_y(value, top)}{'' if is_open else 'h0'}")
        is_open = value is not None
    return "".join(drawn)


def _x(at_s: float, start_s: float) -> float:
    return round(LEFT + (at_s - start_s) / SPAN_S * (WIDTH - LEFT - RIGHT), 1)


def _y(value: float, top: float) -> float:
    return round(HEIGHT - BOTTOM - value / top * (HEIGHT - TOP - BOTTOM), 1)


def _columns(start_s: float, now_s: float) -> list[tuple[float, str]]:
    """Round times of the hour."""
    first = math.ceil(start_s / _TICKS_S) * _TICKS_S
    ticks = range(first, int(now_s) + 1, _TICKS_S)
    return [(_x(at, start_s), f"{datetime.fromtimestamp(at, UTC):%H:%M}") for at in ticks]


def _round_up(value: float) -> float:
    """The next of 1, 2, 4, 5 or 10 times a power of ten: a scale whose half is a round number too."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(factor * power for factor in (1, 2, 4, 5, 10) if value <= factor * power * (1 + 1e-9))


def _latest(points: Points) -> float | None:
    return points[-1][1] if points else None


def amount(value: float | None, unit: str) -> str:
    """A value in few characters: 1234 -> 1.2k; 0.25 s -> 250 ms; None -> a dash."""
    if value is None:
        return "—"
    if unit == "s":
        return f"{value * 1000:.3g} ms" if value < 1 else f"{value:.3g} s"
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{letter}{_suffix(unit)}"
    return f"{value:.3g}{_suffix(unit)}"


def _suffix(unit: str) -> str:
    return unit if unit.startswith("/") else f" {unit}" if unit else ""


def _summary(shown: dict[str, Points], unit: str) -> str:
    parts = []
    for name, points in shown.items():
        known = [(value, at) for at, value in points if value is not None]
        if known:
            peak, at = max(known)
            when = f"{datetime.fromtimestamp(at, UTC):%H:%M}"
            parts.append(f"{name}: now {amount(_latest(points), unit)}, at most {amount(peak, unit)} at {when}")
    return "; ".join(parts) or "no value is known"
