"""`notify-streams run`: all workers of a region on this machine."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import click

from devtools.supervisor import Supervisor
from notify_streams.admin.bootstrap import bootstrap_region
from notify_streams.cli.output import print_progress, region_option, run, settings_of
from notify_streams.roles import ROLES
from notify_streams.settings import Settings


@click.command("run")
@region_option
@click.option("--role", "roles", multiple=True, type=click.Choice(ROLES), help="Only these; all roles if not given.")
def run_region(region: str, roles: tuple[str, ...]) -> None:
    """Prepare the region, run its workers, restart those that end. SIGTERM or Ctrl-C stops all."""
    settings = settings_of(region)
    run(_run(settings, roles or ROLES), settings)


async def _run(settings: Settings, roles: tuple[str, ...]) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await bootstrap_region(settings)
    supervisor = Supervisor(settings, roles, Path(settings.data_dir) / settings.region / "logs", report=print_progress)
    await supervisor.start()
    print_progress(f"region {settings.region}: {len(roles)} workers, views from port {settings.web_port_base}")
    await stop.wait()
    await supervisor.stop()
