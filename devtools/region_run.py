"""Runs the workers of a region until a signal, and says when they are ready."""

from __future__ import annotations

import asyncio
import math
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from devtools.demo.wait import RegionWatcher
from devtools.supervisor import Supervisor
from notify_streams import tasks
from notify_streams.admin.bootstrap import bootstrap_region
from notify_streams.app import web_port
from notify_streams.cli.output import stop_signals
from notify_streams.roles import VIEWS
from notify_streams.settings_folder import config_folder, local_overlay

if TYPE_CHECKING:
    from collections.abc import Sequence

    from notify_streams.settings import Settings


async def run_workers(settings: Settings, roles: Sequence[str]) -> None:
    """Returns after SIGTERM, SIGHUP or SIGINT, when all workers have ended.

    Raises:
        Refused: one of the roles runs here already.
        StoreUnavailable: a service does not answer.
    """
    stop = asyncio.Event()
    for number in (*stop_signals(), signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    console = Console(stderr=True)

    def report(line: str) -> None:
        console.print(line, highlight=False, markup=False, soft_wrap=True)

    region = settings.region
    logs = Path(settings.data_dir) / region / "logs"
    supervisor = Supervisor(settings, roles, logs, report=report)
    supervisor.lock()
    await bootstrap_region(settings)
    await supervisor.start()
    file = local_overlay(region) or config_folder() / f"{region}.yaml"
    report(f"region {region}: starting {len(roles)} workers; logs in {logs}")
    if VIEWS in roles:
        report(
            f"page: http://127.0.0.1:{web_port(settings, VIEWS)}/  tokens: web_…_token in {file} or NOTIFY_WEB_…_TOKEN"
        )
    telling = asyncio.create_task(_tell_ready(settings, roles, console))
    await stop.wait()
    await tasks.stop([telling])
    report("stopping")
    await supervisor.stop()


async def _tell_ready(settings: Settings, roles: Sequence[str], console: Console) -> None:
    started = time.monotonic()
    await RegionWatcher([settings], console).wait_until_ready(math.inf, roles)
    console.print(f"READY: region {settings.region}, {len(roles)} workers, after {time.monotonic() - started:.0f} s")
