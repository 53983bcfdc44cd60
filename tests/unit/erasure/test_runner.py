"""The runner of erasures: two passes, and going on after a failure at any step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

import pytest

from notify_streams import metrics
from notify_streams.erasure.runner import Clocks, ErasureRunner
from notify_streams.erasure.store import OpenErasure, open_erasure
from notify_streams.errors import PermanentFailure, RetryLater, StoreUnavailable, UnknownFailure
from tests.waiting import until

if TYPE_CHECKING:
    from notify_streams.erasure.runner import Note, Step

FIRST = ("checks", "contacts", "timers")
SECOND = ("contacts", "timers", "preferences")


@dataclass
class FakeErasures:
    """One erasure, as `ErasureStore` keeps it. Each write fails if `fails` says so."""

    done: set[str] = field(default_factory=set)
    found: dict[str, int] = field(default_factory=dict)
    due_at: datetime | None = field(default_factory=lambda: datetime.now(UTC))
    first_pass_at: datetime | None = None
    next_at: datetime | None = None
    fails: Callable[[str], bool] = lambda write: False

    async def take_due(self, now: datetime) -> list[OpenErasure]:
        if self.due_at is None:
            return []
        return [OpenErasure("person:1", "ann", 3, datetime.now(UTC), frozenset(self.done))]

    async def note(self, one: OpenErasure, step: str, found: int) -> None:
        self._write(f"note {step}")
        self.found[step] = max(found, self.found.get(step, 0))

    async def mark_done(self, one: OpenErasure, step: str) -> None:
        self._write(f"done {step}")
        self.done.add(step)

    async def first_pass_made(self, one: OpenErasure, now: datetime, next_at: datetime) -> None:
        self._write("first pass")
        self.first_pass_at, self.next_at = now, next_at

    async def postpone(self, one: OpenErasure, until: datetime) -> None:
        self.due_at = until

    async def finish(self, one: OpenErasure, now: datetime) -> None:
        self._write("finish")
        self.due_at = None

    def _write(self, what: str) -> None:
        if self.fails(what):
            raise RetryLater(what)


@dataclass
class FakeData:
    """Documents of one person by step; a step removes them, one at a time."""

    left: Counter[str] = field(default_factory=Counter)
    calls: list[str] = field(default_factory=list)
    fails: Callable[[str], bool] = lambda what: False

    def step(self, name: str) -> Step:
        async def run(one: OpenErasure, note: Note) -> None:
            assert one.user_id == "ann"
            self.calls.append(name)
            await note(self.left[name])
            while self.left[name]:
                self._check(f"{name} {self.left[name]}")
                self.left[name] -= 1
            self._check(name)

        return run

    def _check(self, what: str) -> None:
        if self.fails(what):
            raise RetryLater(what)


def once(places: list[str]) -> Callable[[str], bool]:
    """True when one of these places is reached for the first time."""

    def fails(what: str) -> bool:
        if what in places:
            places.remove(what)
            return True
        return False

    return fails


def a_runner(erasures: FakeErasures, data: FakeData) -> ErasureRunner:
    steps = [{name: data.step(name) for name in names} for names in (FIRST, SECOND)]
    return ErasureRunner(erasures, steps[0], steps[1], settles_s=60.0)


async def until_finished(runner: ErasureRunner, erasures: FakeErasures) -> None:
    for _ in range(20):
        await runner.run_due()
        if erasures.due_at is None:
            return
    raise AssertionError("the erasure did not finish")


async def test_the_second_pass_comes_after_the_time_to_settle_and_ends_it() -> None:
    erasures, data = FakeErasures(), FakeData()
    runner = a_runner(erasures, data)
    await runner.run_due()
    assert data.calls == [*FIRST]
    assert erasures.next_at is not None and erasures.first_pass_at is not None
    assert erasures.next_at - erasures.first_pass_at == timedelta(seconds=60)
    await runner.run_due()
    assert data.calls == [*FIRST, *SECOND] and erasures.due_at is None


WRITES = [
    f"{kind} {name}_{number}"
    for number, names in ((1, FIRST), (2, SECOND))
    for name in names
    for kind in ("note", "done")
]


@pytest.mark.parametrize("place", [*WRITES, "first pass", "finish"])
async def test_a_failed_write_is_repeated_and_nothing_is_counted_twice(place: str) -> None:
    broken = [place]
    erasures = FakeErasures(fails=once(broken))
    data = FakeData(Counter(contacts=1, timers=3, preferences=2))
    await until_finished(a_runner(erasures, data), erasures)
    assert not broken, "the write did not happen"
    assert +data.left == Counter()
    assert erasures.found == {
        "checks_1": 0, "contacts_1": 1, "timers_1": 3, "contacts_2": 0, "timers_2": 0, "preferences_2": 2,
    }  # fmt: skip


@pytest.mark.parametrize("place", ["contacts 1", "timers 2", "timers", "preferences 1", "preferences"])
async def test_a_step_that_fails_in_its_middle_goes_on_and_the_count_is_whole(place: str) -> None:
    broken = [place]
    data = FakeData(Counter(contacts=1, timers=3, preferences=2), fails=once(broken))
    erasures = FakeErasures()
    await until_finished(a_runner(erasures, data), erasures)
    assert not broken and +data.left == Counter()
    assert (erasures.found["timers_1"], erasures.found["preferences_2"]) == (3, 2)
    again = place.split()[0]
    assert data.calls.count(again) == (FIRST + SECOND).count(again) + 1
    assert data.calls.count("checks") == 1


@pytest.mark.parametrize("error", [RetryLater("his registry does not answer"), KeyError("claim")])
async def test_a_failed_step_delays_no_other_person(error: Exception) -> None:
    class Two(FakeErasures):
        async def take_due(self, now: datetime) -> list[OpenErasure]:
            return [OpenErasure(f"person:{name}", name, 3, now, frozenset()) for name in ("bob", "ann")]

    asked: list[str] = []

    async def step(one: OpenErasure, note: Note) -> None:
        asked.append(one.user_id)
        if one.user_id == "bob":
            raise error

    await ErasureRunner(Two(), {"registry": step}, {}, 60.0).run_due()
    assert asked == ["bob", "ann"]


@pytest.mark.parametrize(
    ("error", "counted"),
    [
        (StoreUnavailable("a shard is away"), 0),
        (PermanentFailure("the document is too large"), 1),
        (UnknownFailure("error 99999"), 1),
        (KeyError("user_id"), 1),
    ],
    ids=["an outage", "refused for good", "not in the table", "a defect"],
)
async def test_what_is_no_outage_is_counted_as_failed_and_tried_again(error: Exception, counted: int) -> None:
    def failed() -> float:
        return float(metrics.ERASURES.labels("failed")._value.get())

    async def step(one: OpenErasure, note: Note) -> None:
        raise error

    erasures, before = FakeErasures(), failed()
    runner = ErasureRunner(erasures, {"contacts": step}, {}, settles_s=60.0)
    assert await runner.run_due() == 1
    assert failed() - before == counted
    assert erasures.due_at is not None and erasures.due_at > datetime.now(UTC)


async def test_one_that_another_worker_may_have_taken_meanwhile_is_left_to_it() -> None:
    class Overdue(FakeErasures):
        async def take_due(self, now: datetime) -> list[OpenErasure]:
            until = [now - timedelta(seconds=1), now + timedelta(seconds=120)]
            return [OpenErasure(f"person:{at}", "ann", 3, now, frozenset(), at) for at in until]

    erasures, data = Overdue(), FakeData()
    assert await a_runner(erasures, data).run_due() == 2
    assert data.calls == [*FIRST]


def test_a_document_that_cannot_be_read_stops_no_other() -> None:
    assert open_erasure({"_id": "person:1", "bucket": 3}) is None


async def test_an_unknown_error_of_a_look_ends_no_erasure_for_good() -> None:
    class FailsOnce(FakeErasures):
        looks = 0

        async def take_due(self, now: datetime) -> list[OpenErasure]:
            self.looks += 1
            if self.looks == 1:
                raise ZeroDivisionError("a defect")
            return await super().take_due(now)

    erasures = FailsOnce()
    runner = a_runner(erasures, FakeData())
    await runner.start()
    try:
        await until(lambda: erasures.looks)
        runner.wake()
        await until(lambda: erasures.first_pass_at is not None)
    finally:
        await runner.stop()


async def test_a_wrong_clock_makes_no_second_pass_too_early() -> None:
    """Neither that of the worker which makes the first pass, nor that of the one which looks for what is due."""
    right = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)
    looked: list[datetime] = []

    class Dated(FakeErasures):
        async def take_due(self, now: datetime) -> list[OpenErasure]:
            looked.append(now)
            return await super().take_due(now)

    for ahead in (timedelta(hours=-1), timedelta(hours=1)):
        own = right + ahead
        erasures = Dated()
        clocks = Clocks(partial(min, own, right), partial(max, own, right))
        await ErasureRunner(erasures, {"contacts": FakeData().step("contacts")}, {}, 60.0, clocks).run_due()
        assert erasures.next_at is not None and erasures.next_at >= right + timedelta(seconds=60)
    assert max(looked) <= right
