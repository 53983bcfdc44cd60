"""A region with three worker processes (standard, push, views) and two users: ann, and bob whose home region is eu."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from devtools.stack import Stack
from devtools.stack.paths import PROJECT
from devtools.stack.ports import free_port
from notify_streams.admin.bootstrap import bootstrap_region
from notify_streams.admin.trigger_producer import TriggerProducer
from notify_streams.records.partitioner import bucket_of
from notify_streams.records.user_records import Contacts, LocationRecord
from notify_streams.registry.contact_repository import ContactRepository
from notify_streams.registry.user import User
from notify_streams.registry.users_table import UsersTable
from notify_streams.roles import ROLES, VIEWS
from notify_streams.settings import Settings, load_settings
from notify_streams.stores.mongo import Shards
from notify_streams.topics import CONTACT_ROWS, USER_LOCATIONS
from tests.integration.web.views_region import ARegion, eventually

RUNNING = ("standard", "push", VIEWS)
_NOW = datetime.now(UTC)


@pytest.fixture(scope="package")
def views_settings(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    settings = load_settings("us", environ={}, config_dir=PROJECT / "config", overlay=stack.folder / "us.yaml")
    data = str(tmp_path_factory.mktemp("views"))
    yield msgspec.structs.replace(settings, web_port_base=free_port(count=len(ROLES)), data_dir=data)


@pytest.fixture(scope="package")
async def region(stack: Stack, views_settings: Settings) -> AsyncIterator[ARegion]:
    await bootstrap_region(views_settings)
    async with (
        Shards(views_settings) as shards,
        aiohttp.ClientSession() as http,
        TriggerProducer(views_settings) as upstream,
    ):
        found = ARegion(views_settings, http, upstream, shards)
        await _settle(found)
        workers = [await start_worker(stack, views_settings, role) for role in RUNNING]
        try:
            for role in RUNNING:
                await eventually(partial(found.get, "/ready", role), lambda got: got[0] == 200, within_s=150.0)
            yield found
        finally:
            for worker in workers:
                worker.send_signal(signal.SIGTERM)
            await asyncio.gather(*(ended(worker) for worker in workers))


async def _settle(region: ARegion) -> None:
    """Write what registry and topics contain after the sign-ups of ann and bob."""
    users = UsersTable(region.settings)
    await users.start()
    uploads: list[Any] = []
    for name, home in (("ann", "us"), ("bob", "eu")):
        person = region.person(name)
        await users.put(User(person, home, 1, _NOW))
        contacts = Contacts(person, _NOW, push=f"token-{person}", email=f"{person}@example.org")
        bucket = bucket_of(person, region.settings.partitions)
        stored = await ContactRepository(region.shards).apply([(bucket, contacts)])
        uploads.append((CONTACT_ROWS, person, stored[person].row(), ()))
        uploads.append((USER_LOCATIONS, person, msgspec.json.encode(LocationRecord(person, home)), ()))
    await users.close()
    await region.upstream.send(uploads)


async def start_worker(
    stack: Stack, settings: Settings, role: str, host: str = "127.0.0.1"
) -> asyncio.subprocess.Process:
    """A worker process that listens at `host`."""
    own = {"NOTIFY_STACK_DIR": str(stack.folder), "NOTIFY_CONFIG_DIR": str(PROJECT / "config")}
    own |= {
        "NOTIFY_WEB_HOST": host,
        "NOTIFY_WEB_PORT_BASE": str(settings.web_port_base),
        "NOTIFY_DATA_DIR": settings.data_dir,
    }
    with Path(settings.data_dir, f"{role}.log").open("ab") as log:  # noqa: ASYNC230 - before anything runs
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "notify_streams.cli", "worker", "--region", "us", "--role", role),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=os.environ | own,
        )


async def ended(worker: asyncio.subprocess.Process) -> None:
    try:
        await asyncio.wait_for(worker.wait(), 30)
    except TimeoutError:
        worker.kill()
        raise AssertionError("a worker did not end within 30 s after SIGTERM") from None
