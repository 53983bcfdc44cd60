"""Sealed sums for people: one line for each period and role."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from notify_streams.admin.sealed_periods import by_period

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)


def sealed(role: str, hour: int, opening: int, closing: int, **but: Any) -> dict[str, Any]:
    counts = {"next_offset": closing, "taken": closing, "notified": closing}
    return {
        "period_end": NOON + timedelta(hours=hour),
        "role": role,
        "stage": "routing",
        "partitions": 8,
        "first_offset": 0,
        "opening": {"next_offset": opening, "taken": opening, "notified": opening},
        "closing": counts | but,
    }


def test_the_sums_of_all_partitions_are_one_row() -> None:
    rows = by_period([sealed("standard", 1, 2, 5), sealed("critical", 0, 0, 1), sealed("standard", 1, 0, 4)])
    assert [(row["period_end"][11:16], row["role"], row["sums"]["taken"]) for row in rows] == [
        ("12:00", "critical", 1),
        ("13:00", "standard", 7),
    ]
    assert rows[1]["sums"] == {"taken": 7, "notified": 7} and rows[1]["closes"]


def test_a_row_with_sums_that_do_not_add_up_says_so() -> None:
    (row,) = by_period([sealed("standard", 1, 2, 5), sealed("standard", 1, 0, 4, dead=1)])
    assert not row["closes"]
