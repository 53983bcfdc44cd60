"""Where ledgers go on after a restore: the sums close, what is decided again is known, what may have been sent is marked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from notify_streams.admin.audit.compare import compare
from notify_streams.admin.audit.sealed import SealedLedger
from notify_streams.admin.audit.snapshot import Extent, RegionSnapshot, RestoredLedgers
from notify_streams.admin.audit.totals import RegionTotals
from notify_streams.admin.restore.positions import Reopened, closing_entry, decided_again, reopened, reopening
from notify_streams.delivery.delivery_ledger import (
    COUNTS,
    OwnedLedger,
    Restored,
    Token,
    delivery_sums_close,
    read_restored,
)
from notify_streams.delivery.partition import Entry, Partition
from notify_streams.outbox.ledger import sums_close
from notify_streams.settings import Settings
from notify_streams.stores.sealed_sums import opening_of, sealed_document

AT = datetime(2026, 11, 28, 12, tzinfo=UTC)
TRIGGERS = "triggers.payments"


@pytest.mark.parametrize(
    ("position", "extent", "is_new", "since", "expected"),
    [
        pytest.param(70, Extent(0, 100), False, None, Reopened(70, 0, 30), id="kept: goes on where the backup left it"),
        pytest.param(70, Extent(0, 60), False, None, Reopened(60, -10, 0), id="kept, without its last records"),
        pytest.param(
            70, Extent(80, 100), False, None, Reopened(70, 0, 20), id="kept, retention has passed the position"
        ),
        pytest.param(70, Extent(0, 100), False, 90, Reopened(90, 20, 10), id="kept, older ones are left out"),
        pytest.param(70, Extent(0, 100), False, 150, Reopened(100, 30, 0), id="kept, since lies behind all records"),
        pytest.param(70, Extent(0, 100), False, 40, Reopened(70, 0, 30), id="kept, since lies before the position"),
        pytest.param(70, Extent(0, 3), True, None, Reopened(0, -70, 3), id="new: at its first record"),
    ],
)
def test_a_ledger_goes_on(position: int, extent: Extent, is_new: bool, since: int | None, expected: Reopened) -> None:
    assert reopened(position, extent, is_new=is_new, since=since) == expected


def a_router_ledger(role: str = "standard", **but: Any) -> dict[str, Any]:
    counts = {"taken": 40, "other_lane": 20, "holes": 0, "lost": 0, "notified": 40, "queued": {}}
    counts |= dict.fromkeys(("forwarded", "repartitioned", "dead", "duplicate", "waiting"), 0)
    place = {"_id": f"{role}:{TRIGGERS}:0", "role": role, "topic": TRIGGERS, "partition": 0, "bucket": 0}
    return place | counts | {"first_offset": 0, "next_offset": 60} | but


def a_push_ledger(**but: Any) -> dict[str, Any]:
    counts = dict.fromkeys(COUNTS, 0) | {"taken": 30, "fresh": 30, "sent": 30, "first_offset": 0, "next_offset": 30}
    return counts | {"role": "push", "topic": "push", "partition": 0, "bucket": 0, "_id": "push:push:0"} | but


@pytest.mark.parametrize("is_new", [True, False])
@pytest.mark.parametrize("ledger", [a_router_ledger(), a_push_ledger()], ids=["router", "channel role"])
def test_the_books_close_after_every_move(ledger: dict[str, Any], is_new: bool) -> None:
    closes = delivery_sums_close if ledger["role"] == "push" else sums_close
    for extent in (Extent(0, 10), Extent(0, 100)):
        found = reopened(ledger["next_offset"], extent, is_new=is_new, since=50)
        update = reopening(ledger, found, extent, restore="r", at=AT, is_new=is_new, again={})
        assert closes(ledger | update), (extent, update)


def test_a_channel_role_leaves_out_what_its_router_decides_again_and_marks_what_may_have_been_sent() -> None:
    positions = {("standard", TRIGGERS, 0): 60, ("critical", TRIGGERS, 0): 10}
    extents = {(TRIGGERS, 0): Extent(0, 100), (TRIGGERS, 1): Extent(0, 7), ("triggers.new", 0): Extent(5, 9)}
    again = decided_again("push", 0, positions, extents)
    assert again == {TRIGGERS: (60, 100), "triggers.new": (5, 9)}
    ledger = a_push_ledger()
    update = reopening(ledger, Reopened(30, 0, 20), Extent(0, 50), restore="r", at=AT, is_new=False, again=again)
    restored = read_restored(update)
    assert restored == Restored(50, False, again) and update["claimed_to"] == 50

    partition = Partition(OwnedLedger(0, 30, 50, {TRIGGERS: 55}, None, restored), Token(1), 0, 0.0)
    cases = {
        # offset, position of its trigger: wanted, new, in doubt
        (40, 59): (True, False, True),
        (40, 60): (False, False, True),
        (50, 60): (True, False, True),
        (51, 99): (True, False, True),
        (52, 100): (True, True, False),
    }
    for (offset, source), expected in cases.items():
        entry = Entry(offset)
        is_wanted = partition.place(entry, TRIGGERS, source)
        assert (is_wanted, partition.is_new(entry), partition.is_in_doubt(entry)) == expected, (offset, source)


def test_positions_of_another_kafka_are_not_taken_for_those_of_this_one() -> None:
    """Rows of the outbox are published again: they name offsets of the Kafka that was lost."""
    partition = Partition(OwnedLedger(0, 0, 4, {}, None, Restored(4, True, {})), Token(1), 0, 0.0)
    old = Entry(3)
    assert partition.place(old, TRIGGERS, 5_000) and not partition.is_new(old)
    fresh = Entry(4)
    assert partition.place(fresh, TRIGGERS, 0) and partition.is_new(fresh)


def test_without_a_restore_nothing_is_left_out_or_marked() -> None:
    restored = RestoredLedgers([a_router_ledger()])
    assert not restored.is_superseded("push", 0, 3, TRIGGERS, 99) and not restored.is_repeated(0.0, f"{TRIGGERS}:0:99")
    assert restored.at is None and not restored.was_before(0.0)


def test_the_audit_leaves_out_what_was_published_for_decisions_that_are_made_again() -> None:
    standard, critical = (
        a_router_ledger(role, restored={"id": "r", "at": AT, "is_new": False, "from": at})
        for role, at in (("standard", 60), ("critical", 50))
    )
    restored = RestoredLedgers([standard, critical])
    before, after = AT.timestamp() - 1, AT.timestamp() + 1
    assert restored.is_repeated(before, f"{TRIGGERS}:0:60")
    assert not restored.is_repeated(before, f"{TRIGGERS}:0:59"), "one lane had counted it"
    assert not restored.is_repeated(after, f"{TRIGGERS}:0:60")
    assert not restored.is_repeated(before, "no source")


def test_lanes_that_went_on_at_one_position_are_compared_from_there_on() -> None:
    """Before, the backup had them at different positions: 60 and 30 records, of which critical had not seen the last."""
    settings = Settings(region="us", kafka="none", redis="none", shards=("mongodb://none",))
    standard = a_router_ledger(first_offset=-60, next_offset=0, closed={"at": 0, "taken": 40, "other_lane": 20})
    critical = a_router_ledger("critical", taken=5, notified=5, other_lane=25, first_offset=-30, next_offset=0)
    critical["closed"] = {"at": 0, "taken": 5, "other_lane": 25}

    def checks() -> list[str]:
        snapshot = RegionSnapshot("us", [standard, critical], {(TRIGGERS, 0): Extent(0, standard["next_offset"])}, 45)
        return [one.check for one in compare(settings, snapshot, RegionTotals()) if one.check == "lanes"]

    assert checks() == []
    for one, taken in ((standard, 1), (critical, 2)):
        one |= {"next_offset": 3, "taken": one["taken"] + taken, "other_lane": one["other_lane"] + 3 - taken}
    assert checks() == []
    critical["taken"] += 1
    assert checks() == ["lanes"]


@pytest.mark.parametrize("ledger", [a_router_ledger(), a_push_ledger()], ids=["router", "channel role"])
def test_the_sealed_sums_go_on_with_an_entry_that_closes_what_was_before(ledger: dict[str, Any]) -> None:
    ledger |= {"period_end": AT}
    before = sealed_document(ledger, 8, opening_of(ledger), AT)
    sealed = ledger | {"sealed_to": AT, "period_end": AT + timedelta(hours=1)}
    found = reopened(sealed["next_offset"], Extent(0, 2), is_new=True)
    changed = reopening(sealed, found, Extent(0, 2), restore="r", at=AT, is_new=True, again={})
    entry = closing_entry(sealed, changed, found.shift, 8, AT)
    assert entry is not None and entry["shift"] == found.shift < 0
    chain = SealedLedger()
    assert [*chain.add(before), *chain.add(entry)] == []
    assert [*chain.end(sealed | changed | {"sealed_to": entry["period_end"]})] == []
    assert closing_entry(sealed, changed, 0, 8, AT) is None
