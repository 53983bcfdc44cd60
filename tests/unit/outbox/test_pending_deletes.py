"""Published rows are deleted in groups."""

from collections.abc import Sequence

import pytest

from notify_streams.outbox.flush_plan import OutboxRow, plan_flush
from notify_streams.outbox.pending_deletes import PendingDeletes
from tests.builders import NOON, a_decided_batch, an_outcome


def rows(records: int, flush_id: str = "f") -> Sequence[OutboxRow]:
    entries = [an_outcome(str(number)) for number in range(records)]
    return plan_flush(flush_id, "standard", [a_decided_batch(*entries)], NOON).rows


def filled(flushes: int, records: int) -> PendingDeletes:
    pending = PendingDeletes()
    for number in range(flushes):
        pending.add(f"f{number}", rows(records, f"f{number}"))
    return pending


@pytest.mark.parametrize(("flushes", "records"), [(0, 0), (1, 1), (7, 1), (7, 18), (1, 127)])
def test_few_rows_are_not_due(flushes: int, records: int) -> None:
    assert filled(flushes, records).due() == {}


@pytest.mark.parametrize(("flushes", "records"), [(8, 1), (7, 19), (1, 128), (2, 100)])
def test_enough_flushes_or_records_are_due(flushes: int, records: int) -> None:
    pending = filled(flushes, records)
    assert list(pending.due()) == [f"f{number}" for number in range(flushes)]


def test_deleted_rows_are_no_longer_pending_but_recently_deleted() -> None:
    pending = filled(8, 20)
    pending.mark_deleted(pending.due())
    assert not pending and pending.recently_deleted() == {f"f{number}" for number in range(8)}
    pending.add("next", rows(1))
    assert pending.due() == {}


def test_the_filter_names_every_row_and_its_bucket() -> None:
    pending = PendingDeletes()
    added = rows(3)
    pending.add("f", added)
    assert pending["f"] == {
        "bucket": {"$in": sorted({row.bucket for row in added})},
        "_id": {"$in": [row.document["_id"] for row in added]},
    }
