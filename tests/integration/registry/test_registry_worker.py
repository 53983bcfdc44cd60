"""A registry worker with real services: edge pushes, a rebuilt locations topic, contacts deleted after a move, throttling."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
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
from notify_streams.app import web_port
from notify_streams.edge.point_of_presence import edge_key
from notify_streams.records.user_records import Contacts, Signup
from notify_streams.registry.user import User
from notify_streams.registry.users_table import UsersTable
from notify_streams.roles import VIEWS
from notify_streams.settings import Settings, load_settings
from notify_streams.topics import USER_CONTACTS, USER_LOCATIONS, USER_SIGNUPS
from tests import waiting
from tests.local_services import own_stack

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]
PATIENCE_S = 60.0
until = partial(waiting.until, within_s=PATIENCE_S)


@dataclass
class RegistryRegion:
    """Region us, alone, with its registry worker and the views that the edge asks."""

    settings: Settings
    edge: str | None
    throttled: ThrottlingProxy
    registry: UsersTable
    environ: Mapping[str, str]
    log: Path
    http: aiohttp.ClientSession
    read_token: str
    workers: list[Worker] = field(default_factory=list)

    async def send(self, topic: str, record: Any, *headers: tuple[str, bytes]) -> None:
        async with TriggerProducer(self.settings) as upstream:
            await upstream.send([(topic, record.user_id, msgspec.json.encode(record), headers)])

    async def last(self, topic: str) -> Mapping[str, Any]:
        """The last record of each user."""
        async with TopicReader(self.settings) as topics:
            found = [record async for _, record in topics.read([topic])]
        return {(one.key or b"").decode(): msgspec.json.decode(one.value) for one in found if one.value}

    async def at_edge(self, user_id: str) -> tuple[int, Any, str | None]:
        async with self.http.get(f"{self.edge}/{edge_key(user_id)}", headers=self.reading) as answer:
            body = await answer.json() if answer.status == 200 else None
            return answer.status, body, answer.headers.get("Cache-Control")

    @property
    def reading(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.read_token}"}

    async def start(self) -> None:
        for role in ("registry", VIEWS):
            with self.log.open("ab") as log:
                process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    *("-m", "notify_streams.cli", "worker", "--region", "us", "--role", role),
                    stdout=log,
                    stderr=log,
                    env={**os.environ, **self.environ},
                )
            self.workers.append(Worker(role, role, web_port(self.settings, role), process))
        for worker in self.workers:
            await worker.wait_until_ready()

    async def stop(self) -> None:
        workers, self.workers = self.workers, []
        for worker in workers:
            worker.signal(signal.SIGTERM)
        for worker in workers:
            await asyncio.wait_for(worker.process.wait(), PATIENCE_S)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def region() -> AsyncIterator[RegistryRegion]:
    async with own_stack("registry") as stack, AsyncExitStack() as closing:
        await asyncio.to_thread(stack.up, ["us"])
        services = stack.region("us")
        throttled = ThrottlingProxy(services.dynamodb.address)
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
        registry = UsersTable(msgspec.structs.replace(settings, dynamodb=services.dynamodb.address))
        await registry.start()
        closing.push_async_callback(registry.close)
        environ["NOTIFY_DATA_DIR"] = str(stack.folder / "data")
        log = stack.folder / "registry.log"
        http = await closing.enter_async_context(aiohttp.ClientSession())
        edge = None if services.edge is None else services.edge.url
        read_token = services.plan.tokens["edge_read"]
        made = RegistryRegion(settings, edge, throttled, registry, environ, log, http, read_token)
        closing.push_async_callback(made.stop)
        await made.start()
        yield made


def now() -> datetime:
    return datetime.now(UTC)


async def test_a_signup_reaches_the_edge_and_a_move_purges_its_cache(region: RegistryRegion) -> None:
    if region.edge is None:
        pytest.skip("nginx is not on this machine")
    await region.send(USER_SIGNUPS, Signup("e-pushed", "us", now()))

    async def pushed() -> bool:
        return await region.at_edge("e-pushed") == (200, {"region": "us", "version": 1}, "private, max-age=60")

    await until(pushed)

    # A user of another region: in the registry, not pushed to the edge, so the edge asks the region's view.
    there = User("e-far", "eu", 1, now())
    await region.registry.put(there)

    async def asked() -> bool:
        return await region.at_edge("e-far") == (200, {"region": "eu", "version": 1}, "private, max-age=5")

    await until(asked)
    async with region.http.get(f"{region.edge}/e-far", headers=region.reading) as answer:
        assert answer.headers["X-Edge-Cache"] == "HIT"

    # They move here through the previous home: the edge must not keep its cached response.
    moved = Signup("e-far", "us", now(), 2)
    await region.send(USER_SIGNUPS, moved, ("hops", b"1"), ("origin", b"eu"), ("handed_over_by", b"eu"))

    async def served() -> bool:
        return await region.at_edge("e-far") == (200, {"region": "us", "version": 2}, "private, max-age=60")

    await until(served)


async def test_a_lost_locations_topic_is_rebuilt_from_the_registry(region: RegistryRegion) -> None:
    homes = {f"l-{number}": ("us", "eu", "asia")[number % 3] for number in range(60)}
    await region.registry.put_many([User(user_id, region, 1, now()) for user_id, region in homes.items()])

    async def all_there() -> bool:
        found = await region.last(USER_LOCATIONS)
        return {user_id: found[user_id]["region"] for user_id in homes if user_id in found} == homes

    await until(all_there)
    await region.stop()
    admin = AIOKafkaAdminClient(bootstrap_servers=region.settings.kafka)
    await admin.start()
    await admin.delete_topics([USER_LOCATIONS])
    await until(lambda: _gone(admin))
    await admin.close()
    await ensure_topics(region.settings)
    assert await region.last(USER_LOCATIONS) == {}
    await region.start()
    await until(all_there)


async def test_contacts_are_deleted_after_a_move_except_at_the_standby(region: RegistryRegion) -> None:
    standbys = {"c-leaves": "asia", "c-stays": "us"}
    for user_id in (*standbys, "c-later"):
        await region.send(USER_SIGNUPS, Signup(user_id, "us", now()))
        await region.send(USER_CONTACTS, Contacts(user_id, now(), email=f"{user_id}@example.org"))

    async def known() -> bool:
        found = await region.registry.get_many([*standbys, "c-later"])
        return {user.standby for user in found.values()} == {region.settings.standby} and len(found) == 3

    await until(known)
    for user_id, standby in standbys.items():
        await region.registry.put(User(user_id, "eu", 2, now(), standby=standby, previous="us"))

    async def left(user_id: str) -> bool:
        return "email" not in (await region.last(USER_CONTACTS))[user_id]

    await until(lambda: left("c-leaves"))
    found = await region.last(USER_CONTACTS)
    assert found["c-stays"]["email"] == "c-stays@example.org"
    # A record that enters here for a user of another region is copied there, not stored: nothing to delete again.
    await region.send(USER_CONTACTS, Contacts("c-leaves", now(), email="new@example.org"))
    await region.send(USER_CONTACTS, Contacts("c-stays", now(), email="mark@example.org"), ("hops", b"1"))
    # This move is found by a later comparison, which would also have found the users before it.
    await region.registry.put(User("c-later", "eu", 2, now(), standby="asia", previous="us"))
    await until(lambda: left("c-later"))
    assert (await region.last(USER_CONTACTS))["c-leaves"].get("email") == "new@example.org"


async def test_a_throttled_registry_delays_sign_ups_and_loses_none(region: RegistryRegion) -> None:
    before = region.throttled.calls.total()
    region.throttled.refuse = 40
    began = time.monotonic()
    users = [f"t-{number}" for number in range(30)]
    for user_id in users:
        await region.send(USER_SIGNUPS, Signup(user_id, "us", now()))

    async def all_there() -> bool:
        return len(await region.registry.get_many(users)) == len(users)

    await until(all_there)
    assert region.throttled.refuse == 0, "the registry was never refused"
    assert region.throttled.calls.total() - before > 40
    print(f"through the throttling after {time.monotonic() - began:.1f} s")


async def _gone(admin: AIOKafkaAdminClient) -> bool:
    return USER_LOCATIONS not in await admin.list_topics()
