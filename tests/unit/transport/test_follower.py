"""Every `catch_up` ends, whatever other callers of the follower do meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import cast

import pytest

from notify_streams.transport.partition_buffer import FetchedRange
from notify_streams.transport.record_batch import Record
from notify_streams.transport.tables.changelog_reader import ChangelogReader
from notify_streams.transport.tables.follower import Follower
from notify_streams.transport.tables.memory_store import MemoryStore
from notify_streams.transport.tables.store import DiskFull, StoreDamaged
from tests.waiting import until


class EmptyChangelog:
    """A reader of empty partitions that returns their ends once `answers` is set."""

    def __init__(self) -> None:
        self.answers = asyncio.Event()
        self.was_asked = asyncio.Event()

    async def start(self) -> None: ...
    async def stop(self) -> None: ...
    def read_from(self, positions: Mapping[int, int]) -> None: ...

    async def offset_bounds(self, partitions: frozenset[int]) -> dict[int, tuple[int, int]]:
        self.was_asked.set()
        await self.answers.wait()
        return dict.fromkeys(partitions, (0, 0))

    async def fetch(self, timeout_s: float) -> list[object]:
        await asyncio.sleep(timeout_s)
        return []


async def crash(reason: BaseException) -> None:
    raise AssertionError from reason


@pytest.fixture
def changelog() -> EmptyChangelog:
    return EmptyChangelog()


@pytest.fixture
async def follower(changelog: EmptyChangelog) -> AsyncIterator[Follower]:
    made = Follower("t", MemoryStore(), lambda: cast("ChangelogReader", changelog), crash)
    made.start()
    yield made
    await made.stop()


async def test_a_catch_up_ends_although_another_caller_stops_following(
    follower: Follower, changelog: EmptyChangelog
) -> None:
    first = asyncio.ensure_future(follower.catch_up(frozenset({0, 1})))
    await changelog.was_asked.wait()
    second = asyncio.ensure_future(follower.catch_up(frozenset({0, 1})))
    await asyncio.sleep(0)
    follower.follow(frozenset())  # as the caller of the first does once it has caught up
    changelog.answers.set()
    async with asyncio.timeout(5):
        await asyncio.gather(first, second)
    assert follower.progress().caught_up


async def test_a_store_that_cannot_be_read_stops_the_worker(changelog: EmptyChangelog) -> None:
    store, stopped = MemoryStore(), asyncio.get_running_loop().create_future()

    async def crash(reason: BaseException) -> None:
        stopped.set_result(reason)

    changelog.answers.set()
    follower = Follower("t", store, lambda: cast("ChangelogReader", changelog), crash)
    follower.start()
    await follower.catch_up(frozenset({0}))
    store.failure = StoreDamaged("the table is damaged")
    follower.follow(frozenset({0, 1}))
    assert await asyncio.wait_for(stopped, 5) is store.failure
    await follower.stop()


async def test_an_unknown_error_stops_the_worker(changelog: EmptyChangelog) -> None:
    """Else it would decide by rows that nothing updates any more."""
    stopped = asyncio.get_running_loop().create_future()

    async def crash(reason: BaseException) -> None:
        stopped.set_result(reason)

    class NoStore(MemoryStore):
        def load(self, partition: int, records: Iterable[Record], position: int) -> None:
            raise RecursionError

    changelog.answers.set()
    follower = Follower("t", NoStore(), lambda: cast("ChangelogReader", changelog), crash)
    follower.start()
    follower.follow(frozenset({0}))
    assert isinstance(await asyncio.wait_for(stopped, 5), RecursionError)
    await follower.stop()


class FullDisk(MemoryStore):
    """Takes nothing until there is space."""

    space = asyncio.Event()

    def load(self, partition: int, records: Iterable[Record], position: int) -> None:
        if not self.space.is_set():
            raise DiskFull("the disk takes no more")
        super().load(partition, records, position)


async def test_a_full_disk_is_a_problem_until_there_is_space() -> None:
    store, filled = FullDisk(), FiveRecordsEach()
    follower = Follower("t", store, lambda: cast("ChangelogReader", filled), crash)
    follower.start()
    catching_up = asyncio.ensure_future(follower.catch_up(frozenset({0})))
    await until(lambda: follower.problem == "the disk takes no more")
    assert not catching_up.done() and store.position(0) is None
    store.space.set()
    await asyncio.wait_for(catching_up, 5)
    assert follower.problem is None and store.position(0) == 5
    await follower.stop()


class FiveRecordsEach(EmptyChangelog):
    """Each partition has 5 records; notes which partitions are read together."""

    def __init__(self) -> None:
        super().__init__()
        self.read: list[frozenset[int]] = []
        self.answers.set()

    async def offset_bounds(self, partitions: frozenset[int]) -> dict[int, tuple[int, int]]:
        return dict.fromkeys(partitions, (0, 5))

    def read_from(self, positions: Mapping[int, int]) -> None:
        self.read.append(frozenset(positions))
        self.unread = [partition for partition, position in positions.items() if position < 5]

    async def fetch(self, timeout_s: float) -> list[object]:
        await asyncio.sleep(0 if self.unread else timeout_s)
        return [(self.unread.pop(), FetchedRange(0, 5, [], 0))] if self.unread else []


async def test_many_partitions_are_recovered_some_at_a_time() -> None:
    """On disk, the pages of one partition lie together: those of all would need the memory of the whole table."""
    filled = FiveRecordsEach()
    store = MemoryStore()
    follower = Follower("t", store, lambda: cast("ChangelogReader", filled), crash)
    follower.start()
    async with asyncio.timeout(5):
        await follower.catch_up(frozenset(range(40)))
    assert {store.position(partition) for partition in range(40)} == {5}
    assert filled.read == [frozenset(range(16)), frozenset(range(32)), frozenset(range(40))]
    assert follower.progress().caught_up
    await follower.stop()


async def test_a_cancelled_catch_up_does_not_count_as_behind(follower: Follower, changelog: EmptyChangelog) -> None:
    waiting = asyncio.ensure_future(follower.catch_up(frozenset({0})))
    await changelog.was_asked.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    follower.follow(frozenset())
    changelog.answers.set()
    assert follower.progress().caught_up
