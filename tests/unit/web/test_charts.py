"""The charts of the last hour."""

from __future__ import annotations

import re

import pytest

from notify_streams.web.pages.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Chart, amount, charts
from notify_streams.web.verdict.region_status import Series

NOW_S = 1_800_000_000.0
NUMBERS = re.compile(r"[ML]([\d.]+) ([\d.]+)")


def lag(role: str, values: list[float | None]) -> Series:
    """One value every 10 s, the last one now."""
    first = int(NOW_S) - 10 * (len(values) - 1)
    return Series("lag", "records", {"role": role}, [(first + 10 * place, value) for place, value in enumerate(values)])


def chart_of(title: str, *series: Series) -> Chart:
    return next(one for one in charts(series, NOW_S) if one.title == title)


def test_a_line_goes_from_the_beginning_of_the_hour_to_now_and_from_nothing_to_the_top() -> None:
    (line,) = chart_of("Lag", lag("push", [0.0, 0.0, *[500.0] * 357, 1_000.0])).lines
    points = [(float(x), float(y)) for x, y in NUMBERS.findall(line.path)]
    assert points[0][1] == HEIGHT - BOTTOM and points[-1][1] == TOP
    assert LEFT <= points[0][0] <= LEFT + 2 and WIDTH - RIGHT - 2 <= points[-1][0] <= WIDTH - RIGHT
    assert len(points) == 180 and line.latest == "1k"


def test_the_largest_value_is_kept_when_points_are_joined() -> None:
    values: list[float | None] = [0.0] * 360
    values[101] = 80.0
    chart = chart_of("Lag", lag("push", values))
    assert min(float(y) for _, y in NUMBERS.findall(chart.lines[0].path)) < HEIGHT - BOTTOM - 90
    assert "at most 80 records" in chart.summary


def test_what_is_not_known_is_a_gap() -> None:
    (line,) = chart_of("Lag", lag("push", [1.0, 1.0, None, None, 2.0, 2.0])).lines
    assert line.path.count("M") == 2
    (line,) = chart_of("Lag", lag("push", [1.0, 2.0, None])).lines
    assert line.latest == "—"


def test_without_values_a_chart_says_so() -> None:
    chart = chart_of("Lag")
    assert chart.lines == [] and chart.summary == "no value is known"
    assert chart_of("Lag", lag("push", [None, None])).summary == "no value is known"


def test_the_smallest_of_many_lines_are_summed() -> None:
    found = [lag(f"role-{number}", [number * 10.0, number * 1.0]) for number in range(1, 7)]
    chart = chart_of("Lag", *found)
    assert [(line.name, line.latest) for line in chart.lines] == [
        ("role-6", "6"),
        ("role-5", "5"),
        ("role-4", "4"),
        ("others", "6"),
    ]


def test_deliveries_that_failed_are_in_no_chart_of_those_that_were_sent() -> None:
    series = [
        Series("deliveries", "/s", {"channel": "push", "state": state}, [(int(NOW_S), rate)])
        for state, rate in (("sent", 3.0), ("failed", 9.0))
    ]
    assert [line.latest for line in chart_of("Deliveries sent", *series).lines] == ["3"]


def test_the_hour_has_round_times() -> None:
    assert [text for _, text in chart_of("Lag", lag("push", [1.0])).columns] == ["07:00", "07:20", "07:40", "08:00"]


@pytest.mark.parametrize(
    ("largest", "top"), [(0.0, "1"), (0.3, "0.4"), (1.0, "1"), (3.0, "4"), (45.0, "50"), (7e6, "10M")]
)
def test_the_scale_ends_with_a_round_number(largest: float, top: str) -> None:
    assert chart_of("Lag", lag("push", [largest])).rows[-1][1] == top


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (None, "/s", "—"),
        (0.0, "s", "0 ms"),
        (0.25, "s", "250 ms"),
        (12.345, "s", "12.3 s"),
        (1_234.0, "/s", "1.23k/s"),
        (5.0, "records", "5 records"),
        (2.5e9, "", "2.5G"),
    ],
)
def test_values_are_short(value: float | None, unit: str, text: str) -> None:
    assert amount(value, unit) == text
