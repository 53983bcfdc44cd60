"""`notify-streams failover`: changes which region serves a home region."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from notify_streams.cli.output import as_json, print_progress, print_result, run, settings_of
from notify_streams.cli.region_completion import complete_region
from notify_streams.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from notify_streams.regions.failover.command import FailoverResult
    from notify_streams.settings import Settings


@click.command()
@click.argument("region", shell_complete=complete_region)
@click.option(
    "--to",
    "target",
    shell_complete=complete_region,
    help="The region that is to serve REGION's users, usually its standby.",
)
@click.option("--back", is_flag=True, help="Let REGION serve its own users again.")
@click.option(
    "--stopped",
    multiple=True,
    metavar="REGION",
    shell_complete=complete_region,
    help="You confirm that no worker runs in this region although its Kafka answers.",
)
@click.option(
    "--patience",
    default=8.0,
    show_default=True,
    type=click.FloatRange(0, 3600),
    help="Seconds that a region may take to stop serving.",
)
@as_json
def failover(
    region: str, target: str | None, back: bool, stopped: Sequence[str], patience: float, as_json: bool
) -> None:
    """Change which region serves REGION's users.

    Safe to repeat after a failure; two regions never serve the same users.
    """
    if back == (target is not None and target != region):
        raise Refused("give either --to with another region, or --back")
    server = region if back or target is None else target
    settings = settings_of(server)
    left = f"there may be no region that serves the users of {region} until the same command has ended: run it again"
    result = run(_fail_over(settings, region, server, stopped, patience), settings, interrupted=left)
    line = f"{result.server} serves the users of {result.home} (epoch {result.epoch})"
    if result.away:
        line += f"; {', '.join(result.away)} did not answer and will read of it on return"
    print_result(as_json, asdict(result), [line])


async def _fail_over(
    settings: Settings, region: str, server: str, stopped: Sequence[str], release_timeout_s: float
) -> FailoverResult:
    """Uses the Kafka of every region, from the settings of the new server."""
    from notify_streams.regions.consumer_groups import routers_run
    from notify_streams.regions.failover.command import fail_over
    from notify_streams.regions.failover.log import KafkaControlLog

    kafka = {settings.region: settings.kafka_connection(), **settings.remote_kafka_connections()}
    for name in (region, *stopped):
        if name not in kafka:
            raise Refused(
                f"region {settings.region} has no Kafka of {name!r} in its settings; it has {', '.join(sorted(kafka))}"
            )

    async def is_running(name: str) -> bool:
        return await routers_run(kafka[name], name)

    async with AsyncExitStack() as closing:
        logs = {name: KafkaControlLog(name, connection) for name, connection in kafka.items()}
        for log in logs.values():
            closing.push_async_callback(log.close)
        return await fail_over(
            logs,
            region,
            server,
            stopped=stopped,
            is_running=is_running,
            release_timeout_s=release_timeout_s,
            report=print_progress,
        )
