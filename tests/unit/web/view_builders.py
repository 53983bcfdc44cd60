"""Builders for the tests of the views."""

from typing import Any


def a_row(**but: Any) -> dict[str, Any]:
    row: dict[str, Any] = {
        "_id": "standard:triggers.payments:0",
        "role": "standard",
        "topic": "triggers.payments",
        "partition": 0,
    }
    row |= {"first_offset": 5, "next_offset": 15, "taken": 8, "other_lane": 1, "holes": 1, "lost": 0}
    row |= {"notified": 4, "forwarded": 1, "repartitioned": 1, "dead": 1, "duplicate": 1, "waiting": 0}
    return row | but
