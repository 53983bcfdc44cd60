"""A real registry worker among real services: who signs up is served at the edge, a move purges it, a lost topic comes back, contacts
leave with their person, and a throttled registry only takes longer.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
import pytest_asyncio
from aiokafka.admin import AIOKafkaAdminClient

from devtools.fakes.throttling_proxy import ThrottlingProxy
from devtools.stack.paths import PROJECT
from devtools.workers import Worker
from notify_streams.admin.audit.topics import TopicReader
from notify_streams.admin.bootstrap import bootstrap_region
from notify_streams.admin.topics import ensure_topics
from notify_streams.admin.trigger_producer import TriggerProducer
from notify_streams.edge.point_of_presence import edge_key
from notify_streams.records.user_records import Contacts, Signup
from notify_streams.registry.user import User
from notify_streams.registry.users_table import UsersTable
from notify_streams.roles import ROLES
from notify_streams.settings import Settings, load_settings
from notify_streams.topics import USER_CONTACTS, USER_LOCATIONS, USER_SIGNUPS
from tests import waiting
from tests.local_services import own_stack

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]
PATIENCE_S = 60.0
until = partial(waiting.until, within_s=PATIENCE_S)


@dataclass
class Room:
    """Region us, alone, with its registry worker."""

    settings: Settings
    edge: str | None
    throttled: ThrottlingProxy
    registry: UsersTable
    environ: Mapping[str, str]
    log: Path
    http: aiohttp.ClientSession
    port: int
    worker: Worker | None = None

    async def send(self, topic: str, record: Any, *headers: tuple[str, bytes]) -> None:
        async with TriggerProducer(self.settings) as upstream:
            await upstream.send([(topic, record.user_id, msgspec.json.encode(record), headers)])

    async def last(self, topic: str) -> Mapping[str, Any]:
        """The last record of each person."""
        async with TopicReader(self.settings) as topics:
            found = [record async for _, record in topics.read([topic])]
        return {(one.key or b"").decode(): msgspec.json.decode(one.value) for one in found if one.value}

    async def at_edge(self, user_id: str) -> tuple[int, Any, str | None]:
        async with self.http.get(f"{self.edge}/{edge_key(user_id)}") as answer:
            body = await answer.json() if answer.status == 200 else None
            return answer.status, body, answer.headers.get("Cache-Control")

    async def start(self) -> None:
        """At the port where the edge asks."""
        with self.log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "notify_streams.cli", "worker", "--region", "us", "--role", "registry"),
                stdout=log,
                stderr=log,
                env={**os.environ, **self.environ},
            )
        self.worker = Worker("registry", "registry", self.port, process)
        await self.worker.wait_until_ready()

    async def stop(self) -> None:
        if self.worker is not None and self.worker.alive:
            self.worker.signal(signal.SIGTERM)
            await asyncio.wait_for(self.worker.process.wait(), PATIENCE_S)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def room() -> AsyncIterator[Room]:
    async with own_stack("registry") as stack, AsyncExitStack() as closing:
        await asyncio.to_thread(stack.up, ["us"])
        region = stack.region("us")
        throttled = ThrottlingProxy(region.dynamodb.address)
        await throttled.start()
        closing.push_async_callback(throttled.stop)
        environ = {
            "NOTIFY_STACK_DIR": str(stack.folder),
            "NOTIFY_CONFIG_DIR": str(PROJECT / "config"),
            "NOTIFY_DYNAMODB": throttled.url,
            "NOTIFY_RECONCILE_EVERY_S": "0.5",
        }
        settings = load_settings("us", environ=environ, overlay=stack.settings_file("us"))
        await bootstrap_region(settings)
        registry = UsersTable(msgspec.structs.replace(settings, dynamodb=region.dynamodb.address))
        await registry.start()
        closing.push_async_callback(registry.close)
        environ["NOTIFY_DATA_DIR"] = str(stack.folder / "data")
        log = stack.folder / "registry.log"
        http = await closing.enter_async_context(aiohttp.ClientSession())
        edge = None if region.edge is None else region.edge.url
        port = settings.web_port_base + ROLES.index("registry")
        made = Room(settings, edge, throttled, registry, environ, log, http, port)
        closing.push_async_callback(made.stop)
        await made.start()
        yield made


def now() -> datetime:
    return datetime.now(UTC)


async def test_who_signs_up_is_served_at_the_edge_and_a_move_purges_what_it_remembered(room: Room) -> None:
    if room.edge is None:
        pytest.skip("nginx is not on this machine")
    await room.send(USER_SIGNUPS, Signup("e-pushed", "us", now()))

    async def pushed() -> bool:
        return await room.at_edge("e-pushed") == (200, {"region": "us", "version": 1}, "public, max-age=60")

    await until(pushed)

    # A person of another region's: the registry knows them, the edge was told nothing, the region's view answers.
    there = User("e-far", "eu", 1, now())
    await room.registry.put(there)

    async def asked() -> bool:
        return await room.at_edge("e-far") == (200, {"region": "eu", "version": 1}, "public, max-age=5")

    await until(asked)
    async with room.http.get(f"{room.edge}/e-far") as answer:
        assert answer.headers["X-Edge-Cache"] == "HIT"

    # They move here, by way of the old home: what was remembered must not outlive it.
    moved = Signup("e-far", "us", now(), 2)
    await room.send(USER_SIGNUPS, moved, ("hops", b"1"), ("origin", b"eu"), ("handed_over_by", b"eu"))

    async def served() -> bool:
        return await room.at_edge("e-far") == (200, {"region": "us", "version": 2}, "public, max-age=60")

    await until(served)


async def test_a_lost_topic_of_locations_is_written_again_from_the_registry(room: Room) -> None:
    people = {f"l-{number}": ("us", "eu", "asia")[number % 3] for number in range(60)}
    await room.registry.put_many([User(user_id, region, 1, now()) for user_id, region in people.items()])

    async def all_there() -> bool:
        found = await room.last(USER_LOCATIONS)
        return {user_id: found[user_id]["region"] for user_id in people if user_id in found} == people

    await until(all_there)
    await room.stop()
    admin = AIOKafkaAdminClient(bootstrap_servers=room.settings.kafka)
    await admin.start()
    await admin.delete_topics([USER_LOCATIONS])
    await until(lambda: _gone(admin))
    await admin.close()
    await ensure_topics(room.settings)
    assert await room.last(USER_LOCATIONS) == {}
    await room.start()
    await until(all_there)


async def test_contacts_leave_with_their_person_but_not_the_standby(room: Room) -> None:
    standbys = {"c-leaves": "asia", "c-stays": "us"}
    for user_id in (*standbys, "c-later"):
        await room.send(USER_SIGNUPS, Signup(user_id, "us", now()))
        await room.send(USER_CONTACTS, Contacts(user_id, now(), email=f"{user_id}@example.org"))

    async def known() -> bool:
        found = await room.registry.get_many([*standbys, "c-later"])
        return {user.standby for user in found.values()} == {room.settings.standby} and len(found) == 3

    await until(known)
    for user_id, standby in standbys.items():
        await room.registry.put(User(user_id, "eu", 2, now(), standby=standby, previous="us"))

    async def left(user_id: str) -> bool:
        return "email" not in (await room.last(USER_CONTACTS))[user_id]

    await until(lambda: left("c-leaves"))
    found = await room.last(USER_CONTACTS)
    assert found["c-stays"]["email"] == "c-stays@example.org"
    # What enters here of somebody at home elsewhere goes there, and is not kept: nothing to be forgotten again.
    await room.send(USER_CONTACTS, Contacts("c-leaves", now(), email="new@example.org"))
    await room.send(USER_CONTACTS, Contacts("c-stays", now(), email="mark@example.org"), ("hops", b"1"))
    # Whoever moves now is found by a comparison that begins later; so was everybody else whom it would find.
    await room.registry.put(User("c-later", "eu", 2, now(), standby="asia", previous="us"))
    await until(lambda: left("c-later"))
    assert (await room.last(USER_CONTACTS))["c-leaves"].get("email") == "new@example.org"


async def test_a_throttled_registry_delays_sign_ups_and_loses_none(room: Room) -> None:
    before = room.throttled.calls.total()
    room.throttled.refuse = 40
    began = time.monotonic()
    users = [f"t-{number}" for number in range(30)]
    for user_id in users:
        await room.send(USER_SIGNUPS, Signup(user_id, "us", now()))

    async def all_there() -> bool:
        return len(await room.registry.get_many(users)) == len(users)

    await until(all_there)
    assert room.throttled.refuse == 0, "the registry was never refused"
    assert room.throttled.calls.total() - before > 40
    print(f"through the throttling after {time.monotonic() - began:.1f} s")


async def _gone(admin: AIOKafkaAdminClient) -> bool:
    return USER_LOCATIONS not in await admin.list_topics()
