"""Region us, alone, with its registry worker and the views that the edge asks."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from devtools.fakes.throttling_proxy import ThrottlingProxy
from devtools.stack.paths import PROJECT
from devtools.workers import Worker
from notify_streams.admin.audit.topics import TopicReader
from notify_streams.admin.bootstrap import bootstrap_region
from notify_streams.admin.trigger_producer import TriggerProducer
from notify_streams.app import web_port
from notify_streams.registry.users_table import UsersTable
from notify_streams.roles import VIEWS
from notify_streams.settings import Settings, load_settings
from tests import waiting
from tests.local_services import own_stack

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
    push_token: str
    workers: list[Worker] = field(default_factory=list)

    async def send(self, topic: str, record: Any, *headers: tuple[str, bytes]) -> None:
        """Write a record about a user, as any client does."""
        async with TriggerProducer(self.settings) as upstream:
            await upstream.send([(topic, record.user_id, msgspec.json.encode(record), headers)])

    async def last(self, topic: str) -> Mapping[str, Any]:
        """The last record of each user."""
        async with TopicReader(self.settings) as topics:
            found = [record async for _, record in topics.read([topic])]
        return {(one.key or b"").decode(): msgspec.json.decode(one.value) for one in found if one.value}

    async def start(self) -> None:
        """Start both workers; returns when they are ready."""
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
        """Stop them, in order."""
        workers, self.workers = self.workers, []
        for worker in workers:
            worker.signal(signal.SIGTERM)
        for worker in workers:
            await asyncio.wait_for(worker.process.wait(), PATIENCE_S)


@asynccontextmanager
async def start_registry_region() -> AsyncIterator[RegistryRegion]:
    """Start services and workers; stopped and wiped when the block ends."""
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
        tokens = services.plan.tokens
        made = RegistryRegion(
            settings, edge, throttled, registry, environ, log, http, tokens["edge_read"], tokens["edge_push"]
        )
        closing.push_async_callback(made.stop)
        await made.start()
        yield made


def now() -> datetime:
    """A time for a record."""
    return datetime.now(UTC)
