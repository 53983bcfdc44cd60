"""Workers of all roles at addresses of their own are found by their registrations in a real Redis, whatever else is there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass

import msgspec
import pytest
from aiohttp import web
from redis.asyncio import Redis

from devtools.stack import Stack
from devtools.stack.paths import PROJECT
from devtools.stack.ports import free_port
from notify_streams.roles import ROLES
from notify_streams.settings import Settings, load_settings
from notify_streams.stores.redis import connect
from notify_streams.web.peers import fetch_peers
from notify_streams.worker_registration import MAX_WORKERS, WorkerEntry, WorkerRegistration, key_of, read_workers
from tests.unit.web.verdict.observations import a_summary

pytestmark = pytest.mark.stack
REGION = "registered"


@pytest.fixture
async def own_settings(stack: Stack) -> AsyncIterator[Settings]:
    settings = load_settings("us", environ={}, config_dir=PROJECT / "config", overlay=stack.folder / "us.yaml")
    yield msgspec.structs.replace(settings, region=REGION)


@pytest.fixture
async def redis(own_settings: Settings) -> AsyncIterator[Redis]:
    async with connect(own_settings) as client:
        await client.delete(key_of(REGION))
        yield client
        await client.delete(key_of(REGION))


@dataclass
class AWorker:
    """A registration, and a web server that answers with a summary."""

    registration: WorkerRegistration
    runner: web.AppRunner

    async def start(self, host: str, port: int) -> None:
        await self.runner.setup()
        await web.TCPSite(self.runner, host, port).start()
        await self.registration.beat()

    async def stop(self) -> None:
        await self.registration.stop()
        await self.runner.cleanup()


def a_worker(settings: Settings, role: str, host: str, port: int, body: bytes | None = None) -> AWorker:
    def entry(worker_id: str) -> WorkerEntry:
        return WorkerEntry(worker_id, role, host, port, 3, "1")

    registration = WorkerRegistration(connect(settings), REGION, entry)
    summary = a_summary(region=REGION, role=role, id=registration.id)

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=msgspec.json.encode(summary) if body is None else body)

    app = web.Application()
    app.router.add_get("/", answer)
    return AWorker(registration, web.AppRunner(app))


async def test_all_roles_at_addresses_of_their_own_are_found(own_settings: Settings, redis: Redis) -> None:
    port = free_port()
    async with AsyncExitStack() as closing:
        for number, role in enumerate((*ROLES, "push")):  # two of one role
            worker = a_worker(own_settings, role, f"127.0.0.{2 + number}", port)
            closing.push_async_callback(worker.stop)
            await worker.start(f"127.0.0.{2 + number}", port)
        found = await fetch_peers(own_settings)
        assert [one.role for one in found.workers] == sorted((*ROLES, "push"), key=ROLES.index)
        assert len({one.host for one in found.workers}) == len(ROLES) + 1
        assert all(one.summary is not None and abs(one.ahead_s) for one in found.workers)
    assert (await fetch_peers(own_settings)).workers == []


async def test_garbage_in_redis_and_in_answers_is_no_worker(own_settings: Settings, redis: Redis) -> None:
    port = free_port()
    await redis.hset(key_of(REGION), mapping={b"\xff": b"\x00" * 5000, b"x": b"1 1 {}", b"0123456789abcdef": b"{"})
    bodies = {"127.0.0.2": b"{}", "127.0.0.3": b"\xff", "127.0.0.4": b" " * 300_000, "127.0.0.5": b""}
    async with AsyncExitStack() as closing:
        for host, body in bodies.items():
            worker = a_worker(own_settings, "push", host, port, body)
            closing.push_async_callback(worker.stop)
            await worker.start(host, port)
        found = await fetch_peers(own_settings)
    assert [(one.host, one.summary, one.failure) for one in found.workers] == [
        (host, None, "silent") for host in bodies
    ]


async def test_another_worker_at_the_address_answers_for_itself_alone(own_settings: Settings, redis: Redis) -> None:
    port = free_port()
    old, new = (a_worker(own_settings, "push", "127.0.0.2", port) for _ in range(2))
    await old.registration.beat()  # its process was killed since
    await new.start("127.0.0.2", port)
    try:
        found = {one.registered.entry.id: one for one in (await fetch_peers(own_settings)).workers}
        assert found[old.registration.id].failure == "refused" and found[new.registration.id].summary is not None
    finally:
        await new.stop()
        await old.stop()


async def test_the_number_of_workers_is_bounded(own_settings: Settings, redis: Redis) -> None:
    await redis.hset(key_of(REGION), mapping={f"{number:016x}": b"x" for number in range(MAX_WORKERS)})
    one_more = a_worker(own_settings, "push", "127.0.0.2", 1)
    await one_more.registration.beat()
    assert await redis.hlen(key_of(REGION)) == MAX_WORKERS
    await redis.hdel(key_of(REGION), f"{0:016x}")
    await one_more.registration.beat()
    _, found = await read_workers(redis, REGION)
    assert [one.entry.id for one in found] == [one_more.registration.id]
    await one_more.registration.stop()
    assert await redis.hlen(key_of(REGION)) == MAX_WORKERS - 1


async def test_the_times_are_those_of_redis_and_the_registration_stays(own_settings: Settings, redis: Redis) -> None:
    worker = a_worker(own_settings, "push", "127.0.0.2", 1).registration
    await worker.beat()
    now, (first,) = await read_workers(redis, REGION)
    assert first.registered == first.seen and abs(now - first.seen) < 5
    await redis.delete(key_of(REGION))  # a Redis that has lost everything
    await worker.beat()
    _, (second,) = await read_workers(redis, REGION)
    assert second.registered == first.registered and second.seen >= first.seen
    await worker.stop()
