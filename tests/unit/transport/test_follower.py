"""Every `catch_up` ends, whatever other callers of the follower do meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import cast

import pytest

from notify_streams.transport.tables.changelog_reader import ChangelogReader
from notify_streams.transport.tables.follower import Follower
from notify_streams.transport.tables.memory_store import MemoryStore


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


@pytest.fixture
def changelog() -> EmptyChangelog:
    return EmptyChangelog()


@pytest.fixture
async def follower(changelog: EmptyChangelog) -> AsyncIterator[Follower]:
    made = Follower("t", MemoryStore(shared=True), lambda: cast("ChangelogReader", changelog))
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


async def test_a_cancelled_catch_up_does_not_count_as_behind(follower: Follower, changelog: EmptyChangelog) -> None:
    waiting = asyncio.ensure_future(follower.catch_up(frozenset({0})))
    await changelog.was_asked.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    follower.follow(frozenset())
    changelog.answers.set()
    assert follower.progress().caught_up
