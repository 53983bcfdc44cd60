"""Sealed sums prove each other, and what is still there is compared with what was counted since."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from notify_streams.admin.audit.compare import compare, summary
from notify_streams.admin.audit.sealed import read_sealed_sums, sums_of
from notify_streams.admin.audit.snapshot import RegionSnapshot
from notify_streams.admin.audit.totals import RegionTotals, Sources
from notify_streams.outbox.flush_plan import COUNTED, POSITIONS
from notify_streams.stores.sealed_sums import opening_of, sealed_document
from tests.builders import some_settings

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
TOPIC = "triggers.payments"
ID = f"standard:{TOPIC}:3"
ZEROES = dict.fromkeys((*POSITIONS, *COUNTED.values()), 0)


@dataclass
class AShard:
    """A region of one shard with these sealed sums."""

    documents: Sequence[dict[str, Any]]

    def __len__(self) -> int:
        return 1

    def all_buckets(self) -> list[int]:
        return list(range(8))

    def buckets(self, shard: int) -> list[int]:
        return self.all_buckets()

    def database(self, shard: int) -> dict[str, AShard]:
        return {"sealed_sums": self}

    def find(self, query: Any, **options: Any) -> AShard:
        return self

    async def sort(self, *keys: Any) -> Any:
        for one in sorted(self.documents, key=lambda one: str(one["_id"])):
            yield one


def a_ledger(notified: int, dead: int = 0, **but: Any) -> dict[str, Any]:
    """The router's ledger of one partition, whose records are triggers that were notified, then dead letters."""
    counts = {"taken": notified + dead, "notified": notified, "dead": dead, "next_offset": notified + dead}
    places = {"_id": ID, "role": "standard", "topic": TOPIC, "partition": 3, "bucket": 3, "first_offset": 0}
    return ZEROES | places | counts | {"began_at": NOON} | but


def periods(*ledgers: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The ledger after the last of these periods of an hour, which are sealed a second later, and their sealed sums."""
    documents: list[dict[str, Any]] = []
    for number, ledger in enumerate(ledgers, 1):
        begin = {} if number == 1 else {"sealed_to": NOON + (number - 1) * HOUR}
        opening = documents[-1]["closing"] if documents else opening_of(ledger)
        end = NOON + number * HOUR
        sealed_at = end + timedelta(seconds=1)
        documents.append(sealed_document(ledger | begin | {"period_end": end}, 8, opening, sealed_at))
    end = NOON + len(ledgers) * HOUR
    return ledgers[-1] | {"sealed_to": end, "period_end": end + HOUR}, documents


async def audited(
    ledger: dict[str, Any],
    documents: Sequence[dict[str, Any]],
    *more: dict[str, Any],
    dead: dict[str, int] | None = None,
    since: Callable[[str, str, int], float] = lambda *_: 0.0,
    read_at: datetime = NOON,
    **but: Any,
) -> tuple[set[str], RegionSnapshot]:
    """The checks that fail, and the snapshot. `more`: further ledgers; `dead`: sources of dead letters."""
    snapshot = RegionSnapshot("us", [ledger, *more], read_at={3: read_at.timestamp()}, **but)
    snapshot.sealed = await read_sealed_sums(AShard(documents), snapshot.ledgers, since, snapshot.kept_since)  # type: ignore[arg-type]
    totals = RegionTotals()
    counted = [one for one in dead or {} if snapshot.is_counted("dead", one)]
    totals.dead_letters = Sources(len(counted))
    return {one.check for one in compare(some_settings(), snapshot, totals)}, snapshot


async def test_periods_that_follow_each_other_hold() -> None:
    ledger, documents = periods(a_ledger(5), a_ledger(5), a_ledger(9))
    checks, snapshot = await audited(ledger, documents, notifications=9)
    assert checks == set()
    assert summary(snapshot, RegionTotals())["sealed"] == {
        "count": 3,
        "first": "2026-11-28T13:00:00+00:00",
        "last": "2026-11-28T15:00:00+00:00",
        "holds": True,
    }
    assert sums_of(documents[2]) == {"next_offset": 4, "taken": 4, "notified": 4}


def changed(documents: list[dict[str, Any]], part: str, name: str, by: int = 1) -> list[dict[str, Any]]:
    documents[1] = documents[1] | {part: documents[1][part] | {name: documents[1][part].get(name, 0) + by}}
    return documents


DEFECTS: dict[str, Callable[[list[dict[str, Any]]], list[dict[str, Any]]]] = {
    "one is missing": lambda all_: [all_[0], all_[2]],
    "the first is missing": lambda all_: all_[1:],
    "the last is missing": lambda all_: all_[:2],
    "a closing count": lambda all_: changed(all_, "closing", "notified"),
    "an opening count": lambda all_: changed(all_, "opening", "taken"),
    "a closing position": lambda all_: changed(all_, "closing", "next_offset"),
    "two counts that close": lambda all_: changed(changed(all_, "closing", "notified"), "closing", "dead", -1),
    "a lower sum": lambda all_: changed(changed(all_, "closing", "notified", -9), "closing", "dead", 9),
}


@pytest.mark.parametrize("name", DEFECTS)
async def test_a_change_of_sealed_sums_is_a_difference(name: str) -> None:
    ledger, documents = periods(a_ledger(5), a_ledger(7, 1), a_ledger(9, 1))
    checks, snapshot = await audited(ledger, DEFECTS[name](documents), notifications=9, since=lambda *_: 1e12)
    assert checks == {"sealed sums"} and not snapshot.sealed.summary()["holds"]


async def test_a_ledger_that_was_set_back_is_a_difference() -> None:
    ledger, documents = periods(a_ledger(5), a_ledger(7))
    checks, _ = await audited(ledger | {"notified": 6, "taken": 6, "next_offset": 6}, documents, notifications=6)
    assert checks == {"sealed sums"}


async def test_a_period_that_was_sealed_after_the_ledger_was_read_is_left_out() -> None:
    ledger, documents = periods(a_ledger(5), a_ledger(7))
    before = ledger | {"sealed_to": NOON + HOUR, "period_end": NOON + 2 * HOUR}
    checks, snapshot = await audited(before, documents, notifications=7)
    assert (checks, snapshot.sealed.count) == (set(), 1)


def of_four_partitions(documents: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one | {"partitions": 4, "_id": one["_id"].replace("/000008/", "/000004/")} for one in documents]


async def test_sums_of_another_number_of_partitions_stay_valid_when_ledgers_are_made_anew() -> None:
    _, documents = periods(a_ledger(5), a_ledger(7))
    old = of_four_partitions(documents)
    checks, snapshot = await audited(a_ledger(2), old, notifications=2)
    assert (checks, snapshot.sealed.count) == (set(), 2)
    ledger, new = periods(a_ledger(1), a_ledger(2))
    checks, snapshot = await audited(ledger, [*old, *new], notifications=2)
    assert (checks, snapshot.sealed.count) == (set(), 4)
    checks, _ = await audited(a_ledger(2), old[1:], notifications=2)
    assert checks == {"sealed sums"}


async def test_a_ledger_that_goes_on_in_more_partitions_is_one_chain() -> None:
    ledger, documents = periods(a_ledger(5), a_ledger(7), a_ledger(9))
    grown = [*of_four_partitions(documents[:2]), documents[2]]
    checks, snapshot = await audited(ledger, grown, notifications=9)
    assert (checks, snapshot.sealed.count) == (set(), 3)
    checks, _ = await audited(ledger, grown[:1] + grown[2:], notifications=9)
    assert checks == {"sealed sums"}


#: 90 days after the end of the second period.
EXPIRED = NOON + 2 * HOUR + timedelta(days=90)


@pytest.mark.parametrize(
    ("read_at", "notifications", "differs"),
    [
        (EXPIRED, 4, False),
        (EXPIRED, 3, True),
        (EXPIRED, 5, True),
        (EXPIRED - timedelta(minutes=1), 5, True),
        (EXPIRED - timedelta(minutes=1), 6, False),
        (EXPIRED + 2 * HOUR, 0, False),
        (EXPIRED + 2 * HOUR, 1, True),
    ],
    ids=["exact", "one is missing", "one too many", "one of a period that is kept", "kept", "all", "too many"],
)
async def test_notifications_are_counted_in_the_periods_that_are_kept(
    read_at: datetime, notifications: int, differs: bool
) -> None:
    ledger, documents = periods(a_ledger(3), a_ledger(5), a_ledger(9))
    checks, _ = await audited(ledger, documents, read_at=read_at, notifications=notifications)
    assert checks == ({"ledger against notifications"} if differs else set())


@pytest.mark.parametrize(
    ("since", "counted_from"),
    [(0.0, 0), (1.0, 3), (NOON.timestamp() + 3601, 3), (NOON.timestamp() + 3602, 5), (1e12, 9)],
    ids=["nothing is deleted", "first", "first exactly", "second", "all is deleted"],
)
async def test_dead_letters_are_counted_since_the_first_period_of_which_none_is_deleted(
    since: float, counted_from: int
) -> None:
    ledger, documents = periods(a_ledger(0, 3), a_ledger(0, 5), a_ledger(0, 9))
    places = {"_id": f"critical:{TOPIC}:3", "role": "critical", "dead": 0, "taken": 0}
    critical, others = periods(*(a_ledger(0, count) | places | {"other_lane": count} for count in (3, 5, 9)))
    sources = {f"{TOPIC}:3:{offset}": 1 for offset in range(9)}
    for missing in (0, 1):
        kept = dict(list(sources.items())[: 9 - missing])
        checks, _ = await audited(ledger, [*documents, *others], critical, dead=kept, since=lambda *_: since)
        assert checks == ({"ledger against dead records"} if missing and counted_from < 9 else set())


@pytest.mark.parametrize(
    "but",
    [
        {"notifications_since": (NOON + HOUR).timestamp()},
        {"notifications_kept_s": (9 * HOUR).total_seconds(), "read_at": NOON + 10 * HOUR},
    ],
    ids=["the time to live became longer", "a longer one is not in force yet"],
)
async def test_what_a_shorter_time_to_live_has_deleted_is_not_compared(but: dict[str, Any]) -> None:
    ledger, documents = periods(a_ledger(5), a_ledger(7), a_ledger(9))
    checks, snapshot = await audited(ledger, documents, notifications=4, **but)
    assert checks == set()
    assert "notifications" in summary(snapshot, RegionTotals())["compared_from"]
    checks, _ = await audited(ledger, documents, notifications=3, **but)
    assert checks == {"ledger against notifications"}


async def test_what_an_earlier_release_counted_is_not_compared_with_notifications() -> None:
    ledger, documents = periods(a_ledger(5), a_ledger(9))
    documents[0] |= {"period_begin": None}
    checks, _ = await audited(ledger, documents, notifications=4)
    assert checks == set()
