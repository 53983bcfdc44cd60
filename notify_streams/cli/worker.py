"""`notify-streams worker --role ROLE`: runs one Faust worker in this process."""

from __future__ import annotations

import asyncio
import logging.config
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
import mode.loop

from notify_streams.cli.output import region_option
from notify_streams.gc_tuning import tune_gc
from notify_streams.roles import ROLES

if TYPE_CHECKING:
    from notify_streams.settings import Settings

_LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


@click.command()
@region_option
@click.option("--role", envvar="NOTIFY_ROLE", type=click.Choice(ROLES), required=True)
@click.option(
    "--web-port",
    type=click.IntRange(1, 65_535),
    help="Replaces the role's port, for a second worker of a role on one machine.",
)
@click.option("--loglevel", type=click.Choice(_LEVELS, case_sensitive=False), default="INFO", show_default=True)
def worker(region: str, role: str, web_port: int | None, loglevel: str) -> None:
    """Run one worker of a role until SIGTERM or SIGINT."""
    tune_gc()  # imports make half a million objects, and the collector would look at them again and again
    os.environ |= {"NOTIFY_REGION": region, "NOTIFY_ROLE": role}
    if web_port is not None:
        os.environ["NOTIFY_WEB_PORT"] = str(web_port)
    # Before the app is built, because its services keep the event loop.
    mode.loop.use("uvloop")
    from notify_streams.admin.services import require_access
    from notify_streams.app import run_worker, worker_app  # builds the app that the environment names
    from notify_streams.logs import logging_config
    from notify_streams.stores.mongo import require_partition_count
    from notify_streams.web.health_log import HealthLog

    app = worker_app()
    require_machine(app.settings, role)
    logging.config.dictConfig(logging_config(loglevel, region, role))
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:  # leaves the app's loop as it is
        runner.run(require_partition_count(app.settings))
        runner.run(require_access(app.settings, role))
    health = HealthLog(app)
    app.add_lifecycle(health.start, health.stop)
    run_worker(app, loglevel)


def require_machine(settings: Settings, role: str) -> None:
    """Check what the worker needs of this machine: its port, and a folder that it may write.

    Raises:
        SettingsError: names the setting. Faust would end with a traceback and many lines after it.
    """
    from notify_streams.app import web_port
    from notify_streams.errors import SettingsError
    from notify_streams.web_server import listen

    host, port = settings.web_host, web_port(settings, role)
    try:
        listen(host, port).close()
    except OSError as error:
        raise SettingsError(
            f"web_host {host}, port {port}: the worker cannot listen there: {error.strerror}; stop what uses the port, or set "
            "web_host, web_port_base or --web-port"
        ) from error
    folder = Path(settings.data_dir) / settings.region / role
    remedy = "set data_dir (NOTIFY_DATA_DIR) to a folder that this user may write"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"data_dir: {folder} cannot be made: {error.strerror}; {remedy}") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise SettingsError(f"data_dir: {folder} cannot be written; {remedy}")
