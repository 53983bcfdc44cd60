"""Published rows wait for their deletion until it is worth a command, and never for long."""

from typing import Any

import pytest

from notify_streams.outbox.flush_plan import plan_flush
from notify_streams.outbox.pending_deletes import PendingDeletes
from tests.builders import NOON, a_decided_batch, an_entry


def rows(records: int, flush_id: str = "f") -> Any:
    return plan_flush(
        flush_id, "standard", [a_decided_batch(*[an_entry(str(number)) for number in range(records)])], NOON
    ).rows


def filled(flushes: int, records: int) -> PendingDeletes:
    published = PendingDeletes()
    for number in range(flushes):
        published.add(f"f{number}", rows(records, f"f{number}"))
    return published


@pytest.mark.parametrize(("flushes", "records"), [(0, 0), (1, 1), (7, 1), (7, 18), (1, 127)])
def test_a_little_stays(flushes: int, records: int) -> None:
    assert filled(flushes, records).due() == {}


@pytest.mark.parametrize(("flushes", "records"), [(8, 1), (7, 19), (1, 128), (2, 100)])
def test_enough_goes_at_once(flushes: int, records: int) -> None:
    published = filled(flushes, records)
    assert list(published.due()) == [f"f{number}" for number in range(flushes)]


def test_what_is_deleted_counts_no_more_and_is_remembered() -> None:
    published = filled(8, 20)
    published.mark_deleted(published.due())
    assert not published and published.recently_deleted() == {f"f{number}" for number in range(8)}
    published.add("next", rows(1))
    assert published.due() == {}


def test_the_filter_names_every_row_and_its_bucket() -> None:
    published = PendingDeletes()
    made = rows(3)
    published.add("f", made)
    assert published["f"] == {
        "bucket": {"$in": sorted({row.partition for row in made})},
        "_id": {"$in": [row.document["_id"] for row in made]},
    }
