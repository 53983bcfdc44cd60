"""Regions us, eu and asia, each on services of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack

from rich.console import Console

from devtools.demo.wait import RegionWatcher
from devtools.stack import Stack
from devtools.supervisor import Supervisor
from notify_streams.admin.bootstrap import bootstrap_region
from notify_streams.edge.point_of_presence import edge_key
from notify_streams.settings import load_settings
from tests.e2e.processes import environ_of, until
from tests.e2e.running_region import QUICK, RunningRegion

NAMES = ("us", "eu", "asia")
#: All their workers and three of each service start on one machine.
TIMEOUT_S = 600.0
Regions = Mapping[str, RunningRegion]


async def start_regions(
    stack: Stack,
    closing: AsyncExitStack,
    roles: Sequence[str],
    names: Sequence[str] = NAMES,
    more: Mapping[str, str] = QUICK,
) -> dict[str, RunningRegion]:
    """Start the services and the workers of `roles`, with `more` settings; they are stopped when `closing` ends."""
    await asyncio.to_thread(stack.up, names)
    environ = {**environ_of(stack), **more}
    every = [load_settings(name, environ=environ, overlay=stack.settings_file(name)) for name in names]
    for settings in every:
        await bootstrap_region(settings)
    found = {}
    for settings in every:
        supervisor = Supervisor(settings, roles, stack.folder / settings.region / "workers", environ)
        watch = await closing.enter_async_context(RegionWatcher([settings], Console(quiet=True)))
        region = found[settings.region] = RunningRegion(stack, settings, supervisor, watch, more)
        closing.push_async_callback(region.close)
        closing.push_async_callback(_end, region)
        await supervisor.start()
    for region in found.values():
        await region.ready_with(roles, TIMEOUT_S)
    return found


async def _end(region: RunningRegion) -> None:
    """Stop the supervisor that the region has at the end."""
    await region.supervisor.stop()


async def known_everywhere(regions: Regions, user_id: str, home: str) -> None:
    """Wait until every region knows where the user is at home."""
    for name, region in regions.items():

        async def known(region: RunningRegion = region) -> bool:
            status, found = await region.view("views", f"/locations/{edge_key(user_id)}")
            return status == 200 and found["region"] == home

        await until(known, f"{name} knows where {user_id} is at home", within_s=TIMEOUT_S)
