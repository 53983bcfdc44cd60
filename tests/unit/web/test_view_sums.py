"""Sums of the ledger and the outbox."""

from typing import Any

import pytest

from notify_streams.outbox.row_ids import row_id
from notify_streams.web.ledger import sums
from notify_streams.web.outbox import backlog
from tests.unit.web.view_builders import a_row


def test_the_ledger_closes_if_each_row_closes() -> None:
    found = sums([a_row(), a_row(_id="critical:…", role="critical", dead_reasons={"invalid": 1})])
    assert found.closes
    assert found.total["taken"] == 16
    assert found.by_role["critical"]["notified"] == 4
    assert found.dead_reasons == {"invalid": 1}


OFF = {
    "a position without a record": {"next_offset": 16},
    "a record without an outcome": {"taken": 9, "next_offset": 16},
    "an outcome without a record": {"duplicate": 2},
}


@pytest.mark.parametrize("but", OFF.values(), ids=OFF)
def test_one_row_that_does_not_close_opens_the_ledger(but: dict[str, int]) -> None:
    found = sums([a_row(), a_row(_id="bad", **but)])
    assert not found.closes
    assert found.open_rows == ["bad"]


def test_a_row_that_lacks_a_number_does_not_close() -> None:
    row = a_row()
    del row["holes"]
    assert not sums([row]).closes


def test_a_ledger_that_was_read_in_part_does_not_close() -> None:
    assert not sums([a_row()], complete=False).closes


def test_the_outbox_is_counted_by_role_and_bucket() -> None:
    now_s = 1_800_000_000.0

    def group(role: str, bucket: int, rows: int, age_s: int) -> dict[str, Any]:
        oldest = row_id(role, bucket, f"{int((now_s - age_s) * 1e9):016x}c0ffee00", 0)
        return {"_id": [role, f"{bucket:06d}"], "rows": rows, "oldest": oldest}

    found = backlog([[group("standard", 2, 3, 10)], [group("critical", 1, 1, 90), group("standard", 1, 2, 0)]], now_s)
    assert (found.rows, round(found.oldest_s)) == (6, 90)
    assert [(one.role, one.bucket, one.shard, one.rows) for one in found.buckets] == [
        ("critical", 1, 1, 1),
        ("standard", 1, 1, 2),
        ("standard", 2, 0, 3),
    ]


def test_an_empty_outbox_has_no_age() -> None:
    assert backlog([[], []], 0.0).oldest_s == 0.0
