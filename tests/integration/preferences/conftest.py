"""A env of its own for each test: its own database on the shared shards, its own prefix on a Redis that the test may hurt."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from redis import Redis

from devtools.stack.ports import free_port
from devtools.stack.valkey import Valkey
from notify_streams import tasks
from notify_streams.settings import Settings
from tests.integration.preferences.preference_fixtures import ProcessPreferences, open_env, until_trusted


class HurtableRedis(Valkey):
    """A server for one test module: started again and emptied before each test."""

    def commands(self) -> Redis:
        return Redis.from_url(self.address)

    def heal(self) -> None:
        if self.state == "paused":
            self.resume()
        self.start()
        with self.commands() as redis:
            redis.config_set("maxmemory", 0)
            redis.config_set("maxmemory-policy", "noeviction")
            redis.replicaof("NO", "ONE")
            redis.flushall()


def _server(folder: Path) -> Iterator[HurtableRedis]:
    server = HurtableRedis("redis of a test", folder, free_port())
    server.start()
    yield server
    if server.state == "paused":
        server.resume()
    server.kill()


@pytest.fixture(scope="module")
def _module_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HurtableRedis]:
    yield from _server(tmp_path_factory.mktemp("redis"))


@pytest.fixture
def redis(_module_redis: HurtableRedis) -> HurtableRedis:
    _module_redis.heal()
    return _module_redis


@pytest.fixture
def second_redis(tmp_path: Path) -> Iterator[HurtableRedis]:
    for server in _server(tmp_path / "redis"):
        server.heal()
        yield server


OpenEnv = Callable[..., Awaitable[ProcessPreferences]]


@pytest.fixture
async def env_of(mongo_shards: list[str], redis: HurtableRedis) -> AsyncIterator[OpenEnv]:
    """Opens environments that share a database and a prefix, as the processes of a region do; `redis_url` and settings may differ."""
    name = f"t{uuid4().hex[:12]}"
    async with AsyncExitStack() as environments:

        async def open_one(redis_url: str | None = None, **but: Any) -> ProcessPreferences:
            parts = {"region": "us", "kafka": "none", "shards": tuple(mongo_shards), "database": name}
            wiring = {key: but.pop(key) for key in ("publish", "read_table", "table_lag_s") if key in but}
            settings = Settings(**(parts | {"redis": redis_url or redis.address} | but))
            return await environments.enter_async_context(open_env(settings, name, **wiring))

        yield open_one
        redis.heal()


@pytest.fixture
async def kept() -> AsyncIterator[Callable[[ProcessPreferences], Awaitable[None]]]:
    """Runs a env's keeper and returns when Redis is trusted."""
    running: list[asyncio.Task[None]] = []

    async def keep(env: ProcessPreferences) -> None:
        running.append(asyncio.create_task(env.lease_renewal.run()))
        await until_trusted(env)

    yield keep
    await tasks.stop(running)
