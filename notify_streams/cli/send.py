"""`notify-streams send FILE|-`: sends triggers from a file of JSON lines."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING

import click

from notify_streams.cli.output import as_json, print_result, region_option, run, settings_of
from notify_streams.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from notify_streams.admin.trigger_producer import Upload
    from notify_streams.settings import Settings


@click.command()
@click.argument("file", type=click.File("rb"))
@click.option(
    "--system", help="The upstream system to send as. Default: the trigger's category, if a system has that name."
)
@region_option
@as_json
def send(file: IO[bytes], system: str | None, region: str, as_json: bool) -> None:
    """Send triggers from FILE (- for standard input), one JSON object a line. Returns when Kafka has all of them."""
    settings = settings_of(region)
    if system is not None and system not in settings.trigger_systems:
        raise Refused(f"unknown upstream system {system!r}; known are {', '.join(settings.trigger_systems)}")
    sent = run(_send(settings, _uploads(file, system, settings)), settings)
    print_result(as_json, {"sent": sent}, [f"sent {sent} triggers to region {region}"])


def _uploads(file: IO[bytes], system: str | None, settings: Settings) -> Iterator[Upload]:
    from notify_streams.admin.trigger_producer import owner_of

    for line in file:
        value = line.strip()
        if not value:
            continue
        trigger = owner_of(value)
        name = system or (
            trigger.category if trigger.category in settings.trigger_systems else settings.trigger_systems[0]
        )
        yield f"triggers.{name}", trigger.user_id, value, ()


async def _send(settings: Settings, uploads: Iterator[Upload]) -> int:
    from notify_streams.admin.topics import require_topics
    from notify_streams.admin.trigger_producer import TriggerProducer

    await require_topics(settings)
    async with TriggerProducer(settings) as upstream:
        return await upstream.send(uploads)
