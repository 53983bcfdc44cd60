"""The heartbeat on a real Redis: other workers run if the counter moves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis

from devtools.stack.ports import free_port
from devtools.stack.valkey import Valkey
from notify_streams import tasks
from notify_streams.regions.failover.heartbeat import RedisHeartbeat

WATCH_S = 0.4


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    made = Valkey("heartbeat", tmp_path_factory.mktemp("valkey"), free_port())
    made.start()
    yield made
    made.stop()


@pytest.fixture
async def redis(valkey: Valkey) -> AsyncIterator[Redis]:
    async with Redis.from_url(valkey.address, socket_timeout=0.5) as client:
        await client.flushall()
        yield client


def seen_by(redis: Redis, region: str = "us") -> RedisHeartbeat:
    return RedisHeartbeat(redis, region, WATCH_S)


@asynccontextmanager
async def beating(heartbeat: RedisHeartbeat) -> AsyncIterator[None]:
    async def beat() -> None:
        while True:
            await heartbeat.beat()
            await asyncio.sleep(0.05)

    task = asyncio.create_task(beat())
    try:
        yield
    finally:
        await tasks.stop([task])


async def test_without_a_beat_no_worker_runs(redis: Redis) -> None:
    assert not await seen_by(redis).others_run()


async def test_a_beating_worker_is_seen_in_its_own_region_only(redis: Redis) -> None:
    other = seen_by(redis)
    await other.beat()
    async with beating(other):
        assert await seen_by(redis).others_run()
        assert not await seen_by(redis, "eu").others_run()


async def test_the_last_beat_of_a_region_that_was_killed_proves_nothing(redis: Redis) -> None:
    other = seen_by(redis)
    async with beating(other):
        pass
    await other.beat()
    assert not await seen_by(redis).others_run()


async def test_a_beat_expires(redis: Redis) -> None:
    await seen_by(redis).beat()
    assert 0 < await redis.ttl("control:presence:us") <= 60


async def test_without_redis_no_worker_runs_and_nothing_is_raised(valkey: Valkey, redis: Redis) -> None:
    heartbeat = seen_by(redis)
    await heartbeat.beat()
    for hurt, heal in ((valkey.pause, valkey.resume), (valkey.kill, valkey.start)):
        await asyncio.to_thread(hurt)
        try:
            began = time.monotonic()
            await heartbeat.beat()
            assert not await heartbeat.others_run()
            assert time.monotonic() - began < 5
        finally:
            await asyncio.to_thread(heal)
