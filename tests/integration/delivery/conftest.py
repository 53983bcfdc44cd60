"""A database for each test on the shared shards, and the provider sandbox."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import uuid4

import aiohttp
import pytest

from notify_streams.admin.shards.init import init_shards
from notify_streams.settings import Settings
from notify_streams.tasks import stop
from tests.integration.delivery.delivery_fixtures import DeliveryEnvironment, Sandbox


@pytest.fixture
async def env(mongo_shards: list[str]) -> AsyncIterator[DeliveryEnvironment]:
    name = f"t{uuid4().hex[:12]}"
    settings = Settings(region="us", kafka="none", redis="none", shards=tuple(mongo_shards), database=name)
    async with DeliveryEnvironment(settings) as opened:
        await init_shards(settings, opened.shards)
        yield opened
        await opened.drop()


@pytest.fixture
async def providers(sandbox: dict[str, str]) -> AsyncIterator[Sandbox]:
    async with aiohttp.ClientSession() as session:
        found = Sandbox(sandbox, session)
        yield found
        await found.clear_faults()


@pytest.fixture
async def running() -> AsyncIterator[Callable[[Any], asyncio.Task[Any]]]:
    """Starts tasks that end with the test."""
    tasks: set[asyncio.Task[Any]] = set()

    def start(work: Any) -> asyncio.Task[Any]:
        task = asyncio.create_task(work)
        tasks.add(task)
        return task

    yield start
    await stop(tasks)
