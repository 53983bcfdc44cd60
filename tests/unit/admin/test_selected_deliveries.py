"""Which notifications are read for a selection of deliveries."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from notify_streams.admin.deliveries import Selection
from notify_streams.records.ids import delivery_id, notification_id

AT = datetime(2026, 11, 30, tzinfo=UTC)
ONE, OTHER = (notification_id(name, "u-1", "payments") for name in ("a.b", "c"))


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        pytest.param(Selection(state="failed"), {}, id="by what its attempts led to: all"),
        pytest.param(Selection(category="payments"), {"category": "payments"}, id="category"),
        pytest.param(Selection(since=AT), {"decided_at": {"$gte": AT}}, id="time"),
        pytest.param(
            Selection([delivery_id(OTHER, "push"), delivery_id(ONE, "sms"), delivery_id(ONE, "push")]),
            {"_id": {"$in": [ONE, OTHER]}},
            id="names: these notifications only",
        ),
        pytest.param(Selection(["no id"]), {"_id": {"$in": [""]}}, id="no delivery id"),
    ],
)
def test_the_query_of_a_selection(selection: Selection, expected: dict[str, Any]) -> None:
    assert selection.query([1, 2]) == {"bucket": {"$in": [1, 2]}} | expected
