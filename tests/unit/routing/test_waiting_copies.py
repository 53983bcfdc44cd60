"""Copies of waiting triggers are published soon, whatever another shard does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from notify_streams.errors import StoreUnavailable
from notify_streams.routing.waiting_triggers import WaitingTriggers, waiting
from notify_streams.stores.mongo import TIMERS
from tests.builders import ARecord
from tests.waiting import until


class Collection:
    """The part of MongoDB's that is used; all timers in it are of the buckets that are asked for."""

    def __init__(self) -> None:
        self.timers: list[Any] = []

    def find(self, query: Any) -> Collection:
        return self

    def sort(self, field: str, order: int) -> Collection:
        return self

    def limit(self, count: int) -> Collection:
        return self

    def batch_size(self, count: int) -> Collection:
        return self

    async def __aenter__(self) -> Collection:
        return self

    async def __aexit__(self, *_: object) -> None: ...

    async def __aiter__(self) -> AsyncIterator[Any]:
        for timer in list(self.timers):
            yield timer

    async def find_one(self, query: Any, fields: Any, sort: Any) -> None:
        return None

    async def delete_many(self, query: Any) -> None:
        self.timers = [one for one in self.timers if one["_id"] not in query["_id"]["$in"]]


class Shards:
    """Two; `silent` do not answer."""

    def __init__(self, *silent: int) -> None:
        self.silent = silent
        self.collections = [Collection(), Collection()]

    def __len__(self) -> int:
        return len(self.collections)

    def buckets(self, shard: int) -> list[int]:
        return [shard]

    def database(self, shard: int) -> dict[str, Collection]:
        if shard in self.silent:
            raise StoreUnavailable(f"shard {shard} does not answer")
        return {TIMERS: self.collections[shard]}


def a_due_timer(bucket: int) -> Any:
    return waiting(ARecord(b"{}", b"u"), "critical", "triggers.payments", bucket, datetime.now(UTC)).timer


@asynccontextmanager
async def running(shards: Any, mine: Sequence[int]) -> AsyncIterator[tuple[WaitingTriggers, list[int]]]:
    published: list[int] = []

    async def publish(outputs: Sequence[Any]) -> None:
        published.extend(bucket for _, bucket, *_ in outputs)

    given: Callable[[Sequence[Any]], Awaitable[None]] = publish
    triggers = WaitingTriggers(shards, "critical", given, lambda: mine, 5.0)
    await triggers.start()
    try:
        yield triggers, published
    finally:
        await triggers.stop()


async def test_a_timer_that_is_written_after_the_look_of_its_batch_is_found_soon() -> None:
    """A flush may take longer than a second."""
    shards = Shards()
    async with running(shards, [0, 1]) as (triggers, published):
        triggers.wake()
        await asyncio.sleep(1.5)
        shards.collections[0].timers.append(a_due_timer(0))
        await until(lambda: published == [0], within_s=10.0)


async def test_the_timers_of_an_assignment_are_found_soon() -> None:
    shards, mine = Shards(), list[int]()
    shards.collections[1].timers.append(a_due_timer(1))
    async with running(shards, mine) as (_, published):
        await asyncio.sleep(0.1)
        mine.append(1)
        await until(lambda: published == [1], within_s=10.0)


@pytest.mark.parametrize("silent", [0, 1])
async def test_a_shard_that_does_not_answer_holds_no_timer_of_another(silent: int) -> None:
    shards = Shards(silent)
    other = 1 - silent
    shards.collections[other].timers.append(a_due_timer(other))
    async with running(shards, [0, 1]) as (_, published):
        await until(lambda: published == [other], within_s=10.0)
