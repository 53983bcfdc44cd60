"""The audit holds one part of the deliveries at a time, compares what is still there, and adds the parts up."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from notify_streams.admin.audit.compare import compare, summary
from notify_streams.admin.audit.parts import (
    ROWS,
    AcceptedRow,
    AttemptRow,
    DeliveryRow,
    MessageRow,
    Parts,
    SourceRow,
    parts_for,
)
from notify_streams.admin.audit.region_part import RegionPart, read_part
from notify_streams.admin.audit.snapshot import RegionSnapshot
from notify_streams.admin.audit.totals import RegionTotals
from notify_streams.cli.audit import lines_of
from notify_streams.delivery.attempts import Attempt, Phase, Rank, attempt_document, delivery_key
from tests.builders import some_settings

DECIDED_S = 1_800_000_000


def rows_of_a_delivery(number: int, missing: Sequence[str] = ()) -> Iterator[Any]:
    """All rows of a push that was sent, without some kinds."""
    identity = f"n-{number:07}.push"
    key = delivery_key(identity, DECIDED_S)
    attempt = attempt_document(key, 3, 1, Phase.CALL, b"abc", Attempt(Rank.SENT, DECIDED_S * 1000, provider="fcm"))
    rows = {
        "delivery": DeliveryRow(key, identity, "push", "queued", None, float(DECIDED_S)),
        "attempt": AttemptRow(attempt["_id"], attempt["p"]),
        "message": MessageRow("push", identity, False),
        "accepted": AcceptedRow(identity, "sha", False),
    }
    return (row for name, row in rows.items() if name not in missing)


def filled(folder: Path, count: int, deliveries: int, **missing: int) -> Parts:
    """`missing`: kind of row → the number of the delivery that lacks it."""
    parts = Parts(folder, count, buffered=100_000)
    for number in range(deliveries):
        for row in rows_of_a_delivery(number, [name for name, lacks in missing.items() if lacks == number]):
            parts.add(row)
    parts.write()
    return parts


def totals_of(parts: Parts, snapshot: RegionSnapshot) -> RegionTotals:
    totals = RegionTotals()
    for number in range(parts.count):
        totals.add(snapshot, read_part(parts, number))
    return totals


def checks(snapshot: RegionSnapshot, totals: RegionTotals) -> list[tuple[str, int, int, str | None]]:
    return [(one.check, one.expected, one.found, one.example) for one in compare(some_settings(), snapshot, totals)]


@pytest.mark.parametrize("taken_by", [None, 3, 4])
def test_a_message_that_was_taken_has_an_attempt(tmp_path: Path, taken_by: int | None) -> None:
    """A growth may have parted message and delivery: their buckets, each read at its own time, say nothing of one another."""
    delivery, _, message, _ = rows_of_a_delivery(0)
    parts = Parts(tmp_path, 1)
    parts.add(msgspec.structs.replace(delivery, bucket=3))
    parts.add(msgspec.structs.replace(message, taken_by=taken_by))
    parts.write()
    snapshot = RegionSnapshot("us")
    found = compare(some_settings(), snapshot, totals_of(parts, snapshot))
    check = "taken without an attempt" if taken_by == 3 else "deliveries under way"
    assert [(one.check, one.found, one.example, one.in_flight) for one in found] == [
        (check, 1, "n-0000000.push", taken_by != 3)
    ]


@pytest.mark.parametrize("count", [1, 7])
def test_the_sums_do_not_depend_on_the_parts(tmp_path: Path, count: int) -> None:
    snapshot = RegionSnapshot("us", has_log=True)
    parts = filled(tmp_path, count, 1_000, delivery=17, message=500, accepted=999)
    totals = totals_of(parts, snapshot)
    assert checks(snapshot, totals) == [
        ("deliveries without a message", 999, 998, "n-0000500.push"),
        ("messages without a delivery", 0, 1, "n-0000017.push"),
        ("sent but never accepted", 999, 998, "n-0000999.push"),
        ("accepted but not sent", 0, 1, "n-0000017.push"),
    ]
    numbers = summary(snapshot, totals)
    assert (numbers["deliveries"]["push"], numbers["accepted"]) == ({"sent": 999}, 999)


def test_all_rows_of_a_delivery_are_in_one_part_and_the_parts_are_even(tmp_path: Path) -> None:
    parts = filled(tmp_path, 10, 2_000)
    sizes = []
    for number in range(10):
        part = read_part(parts, number)
        assert part.deliveries["push"].keys() == part.published["push"].keys() == part.accepted.keys()
        assert {one.state for one in part.deliveries["push"].values()} == {"sent"}
        sizes.append(len(part.deliveries["push"]))
    assert sum(sizes) == 2_000 and max(sizes) < 1.5 * 200


def test_the_memory_does_not_grow_with_the_deliveries(tmp_path: Path) -> None:
    def peak(deliveries: int) -> int:
        """The least of three: what other threads of the process allocate meanwhile is counted, too."""
        return min(measured(deliveries, tmp_path / f"{deliveries}-{number}") for number in range(3))

    def measured(deliveries: int, folder: Path) -> int:
        snapshot = RegionSnapshot("us", has_log=True)
        tracemalloc.start()
        totals = totals_of(filled(folder, deliveries // 500, deliveries), snapshot)
        _, found = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert checks(snapshot, totals) == []
        return found

    assert peak(4_000) < 1.3 * peak(1_000)


def test_a_part_has_a_fixed_number_of_rows() -> None:
    assert [parts_for(rows) for rows in (0, ROWS - 1, ROWS, 30_000_000)] == [1, 1, 2, 301]


def test_rows_about_one_source_are_in_one_part(tmp_path: Path) -> None:
    parts = Parts(tmp_path, 5)
    for number in range(50):
        for kind in ("dead", "forwarded", "waited", "arrived", "astray", "claim", "handed to eu"):
            parts.add(SourceRow(kind, f"triggers.app:5:{number}", 7))
    parts.write()
    totals = totals_of(parts, RegionSnapshot("us"))
    assert (totals.dead_letters.count, totals.forwarded.count, totals.waited) == (50, 50, 50)
    part = read_part(parts, 0)
    assert part.handed_to["eu"].keys() == part.arrived and part.astray.items() == part.claims.keys()


def test_what_retention_has_deleted_is_not_compared_and_the_report_says_from_when(tmp_path: Path) -> None:
    snapshot = RegionSnapshot("us", held_since={("push", 0): DECIDED_S + 1.0, ("push", 1): DECIDED_S - 9.0})
    parts = filled(tmp_path, 1, 10, message=3)
    assert checks(snapshot, totals_of(parts, snapshot)) == [], "decided before the first message that is there"
    snapshot.held_since["push", 0] = DECIDED_S
    totals = totals_of(parts, snapshot)
    assert checks(snapshot, totals) == [("deliveries without a message", 10, 9, "n-0000003.push")]
    numbers = summary(snapshot, totals)
    assert numbers["compared_from"] == {"push": datetime.fromtimestamp(DECIDED_S, UTC).isoformat()}
    report = {"regions": {"us": numbers}, "differences": [], "in_flight": [], "repeats": [], "holds": True}
    assert "us: push is compared from 2027-01-15T08:00:00+00:00 on; what was before is deleted" in lines_of(report)


def test_a_message_of_before_a_growth_is_looked_for_in_the_partition_of_that_time(tmp_path: Path) -> None:
    """The people of bucket 0 came from bucket 4; retention has deleted the first records of both partitions."""
    snapshot = RegionSnapshot("us", held_since={("push", 0): DECIDED_S - 9.0, ("push", 4): DECIDED_S + 1.0})
    parts = filled(tmp_path, 1, 10, message=3)
    assert checks(snapshot, totals_of(parts, snapshot)) == [("deliveries without a message", 10, 9, "n-0000003.push")]
    snapshot.former_buckets = {0: [4]}
    assert checks(snapshot, totals_of(parts, snapshot)) == []


def test_a_part_without_a_log_has_no_accepted_messages() -> None:
    snapshot, totals = RegionSnapshot("us"), RegionTotals()
    totals.add(snapshot, RegionPart())
    assert summary(snapshot, totals)["accepted"] is None
