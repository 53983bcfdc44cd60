"""A local region for a benchmark: started, filled with users, wiped at the end."""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import yaml

from devtools.benchmarks.router.load import bench_users, user_uploads
from devtools.stack import Stack, settings_overlay
from devtools.stack.starting import start_services
from devtools.subprocesses import python_module
from devtools.workers import WorkerPool
from notify_streams.admin.bootstrap import bootstrap_region
from notify_streams.admin.trigger_producer import TriggerProducer
from notify_streams.settings import Settings, load_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

REGION: Final = "us"


@asynccontextmanager
async def local_region(folder: Path, partitions: int | None = None) -> AsyncIterator[Settings]:
    """Start region us in `folder`, create its topics and users; stop and wipe it when the block ends.

    Args:
        partitions: of every topic; None: as the local stack has.
    """
    stack = Stack(folder, environment={})
    try:
        await start_services(stack, [REGION], 1)
        file = stack.settings_file(REGION)
        if partitions is not None:
            settings_overlay.write(file, yaml.safe_load(file.read_text()) | {"partitions": partitions})
        settings = load_settings(REGION, environ={}, overlay=file)
        await bootstrap_region(settings)
        async with TriggerProducer(settings) as producer:
            await producer.send(user_uploads(bench_users(), REGION))
        yield settings
    finally:
        await asyncio.to_thread(stack.down, [REGION], True)


@asynccontextmanager
async def worker_pool(folder: Path, environ: Mapping[str, str] | None = None) -> AsyncIterator[WorkerPool]:
    """Workers of the region in `folder`; stopped when the block ends. `environ` replaces what they get besides our environment."""
    pool = WorkerPool(REGION, environ or {"NOTIFY_STACK_DIR": str(folder)}, folder / "workers")
    try:
        yield pool
    finally:
        await pool.stop_all()


def service_pids(folder: Path) -> list[int]:
    """The processes of the services of the region in `folder`."""
    return [pid for one in Stack(folder, environment={}).region(REGION).services if (pid := one.process.pid)]


def environment(folder: Path) -> dict[str, str]:
    """The environment of a process that must find the region in `folder`."""
    return {**os.environ, "NOTIFY_STACK_DIR": str(folder)}


def router_baseline(count: int) -> tuple[str, ...]:
    """The command of the baseline; it reads `count` triggers, from the offsets on its standard input."""
    return python_module("devtools.benchmarks.router.baseline", REGION, str(count))
