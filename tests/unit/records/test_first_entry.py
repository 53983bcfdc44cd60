"""When the trigger of a notification first entered."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from notify_streams.records.origin import first_entry

FIRST, ENTERED, DECIDED = (datetime(2026, 11, 22, hour, tzinfo=UTC) for hour in (10, 11, 12))


@pytest.mark.parametrize(
    ("fields", "at"),
    [
        ({"entered_at": ENTERED, "copy": {"origin_at": FIRST, "copied_from": "a:1:2"}}, FIRST),
        ({"entered_at": ENTERED, "copy": {"replayed_from": "1:2"}}, ENTERED),
        ({"entered_at": ENTERED}, ENTERED),
        ({}, DECIDED),
    ],
    ids=["a copy", "a replay", "its own", "of an earlier release"],
)
def test_the_first_entry_of_a_notification(fields: Mapping[str, Any], at: datetime) -> None:
    assert first_entry({"decided_at": DECIDED, **fields}) == at
