"""A database of its own for each test on the shared shards, and what a worker has of it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any
from uuid import uuid4

import pytest

from notify_streams.settings import Settings
from tests.integration.outbox.outbox_fixtures import Bench, end

OpenBench = Callable[..., Any]


@pytest.fixture
async def bench_of(mongo_shards: list[str]) -> AsyncIterator[OpenBench]:
    """Opens benches that share a database, as the workers of a region do; settings may differ."""
    name = f"t{uuid4().hex[:12]}"
    async with AsyncExitStack() as benches:
        first: list[Bench] = []

        async def open_one(*, of_shards: dict[str, Any] | None = None, **but: Any) -> Bench:
            parts = {"region": "us", "kafka": "none", "redis": "none", "shards": tuple(mongo_shards), "database": name}
            bench = Bench(Settings(**(parts | but)), **(of_shards or {}))
            await benches.enter_async_context(bench)
            if not first:
                await bench.make_collections()
            first.append(bench)
            return bench

        yield open_one
        if first:
            await first[0].drop()


@pytest.fixture
async def bench(bench_of: OpenBench) -> Bench:
    return await bench_of()


@pytest.fixture
async def running() -> AsyncIterator[Callable[[Any], asyncio.Task[None]]]:
    """Starts loops that end with the test."""
    tasks: list[asyncio.Task[None]] = []

    def start(loop: Any) -> asyncio.Task[None]:
        tasks.append(asyncio.create_task(loop))
        return tasks[-1]

    yield start
    await end(*tasks)
