"""A database for each test on the shared shards, and benches on it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any
from uuid import uuid4

import pytest

from notify_streams import tasks
from notify_streams.settings import Settings
from tests.integration.outbox.outbox_fixtures import Bench

OpenBench = Callable[..., Awaitable[Bench]]
Run = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]


@pytest.fixture
async def bench_of(mongo_shards: list[str]) -> AsyncIterator[OpenBench]:
    """Opens benches that share a database, as the workers of a region do; `but` changes their settings."""
    name = f"t{uuid4().hex[:12]}"
    async with AsyncExitStack() as benches:
        first: list[Bench] = []

        async def open_one(*, shards_options: dict[str, Any] | None = None, **but: Any) -> Bench:
            parts = {"region": "us", "kafka": "none", "redis": "none", "shards": tuple(mongo_shards), "database": name}
            bench = Bench(Settings(**(parts | but)), **(shards_options or {}))
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
async def running() -> AsyncIterator[Run]:
    """Starts loops that are stopped at the end of the test."""
    started: list[asyncio.Task[None]] = []

    def start(loop: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        started.append(asyncio.create_task(loop))
        return started[-1]

    yield start
    await tasks.stop(started)
