"""Who waits for a table gets it, whatever others want of it meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Mapping

import pytest

from notify_streams.transport.tables.follower import Follower
from notify_streams.transport.tables.memory_store import in_memory
from notify_streams.transport.tables.store import decode_raw, encode_raw


class Changelog:
    """A reader of empty partitions, whose ends are told when the test says so."""

    def __init__(self) -> None:
        self.told = asyncio.Event()
        self.asked = asyncio.Event()

    async def start(self) -> None: ...
    async def stop(self) -> None: ...
    def read_from(self, positions: Mapping[int, int]) -> None: ...

    async def offset_bounds(self, partitions: frozenset[int]) -> dict[int, tuple[int, int]]:
        self.asked.set()
        await self.told.wait()
        return dict.fromkeys(partitions, (0, 0))

    async def fetch(self, timeout_s: float) -> list[object]:
        await asyncio.sleep(timeout_s)
        return []


@pytest.fixture
def changelog() -> Changelog:
    return Changelog()


@pytest.fixture
async def follower(changelog: Changelog) -> AsyncIterator[Follower]:
    store = in_memory(decode_raw, encode_raw, True)
    made = Follower("t", store, lambda: changelog)  # type: ignore[arg-type, return-value]
    made.start()
    yield made
    await made.stop()


async def test_what_somebody_waits_for_is_followed_whatever_another_one_wants(
    follower: Follower, changelog: Changelog
) -> None:
    first = asyncio.ensure_future(follower.catch_up(frozenset({0, 1})))
    await changelog.asked.wait()
    second = asyncio.ensure_future(follower.catch_up(frozenset({0, 1})))
    await asyncio.sleep(0)
    follower.want(frozenset())  # as whoever waited for the first does once it has what it wanted
    changelog.told.set()
    async with asyncio.timeout(5):
        await asyncio.gather(first, second)
    assert follower.progress().caught_up


async def test_whoever_gave_up_is_no_reason_to_be_behind(follower: Follower, changelog: Changelog) -> None:
    waiting = asyncio.ensure_future(follower.catch_up(frozenset({0})))
    await changelog.asked.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    follower.want(frozenset())
    changelog.told.set()
    assert follower.progress().caught_up
