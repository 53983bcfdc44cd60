"""`notify-streams run`: all workers of a region on this machine."""

from __future__ import annotations

import click

from notify_streams.cli.output import region_option, run, settings_of
from notify_streams.roles import ROLES


@click.command("run")
@region_option
@click.option("--role", "roles", multiple=True, type=click.Choice(ROLES), help="Only these; all roles if not given.")
def run_region(region: str, roles: tuple[str, ...]) -> None:
    """Prepare the region, run its workers, restart those that end.

    Prints READY when all are. SIGTERM or Ctrl-C stops all.
    """
    settings = settings_of(region)
    from devtools.region_run import run_workers

    run(run_workers(settings, roles or ROLES), settings)
