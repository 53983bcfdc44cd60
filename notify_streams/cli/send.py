"""`notify-streams send FILE|-`: sends triggers from a file of JSON lines."""

from __future__ import annotations

from contextlib import contextmanager
from tempfile import SpooledTemporaryFile
from typing import IO, TYPE_CHECKING, Final

import click
import msgspec

from notify_streams.cli.output import as_json, print_progress, print_result, region_option, run, settings_of
from notify_streams.errors import Refused
from notify_streams.field_errors import DECODE_ERRORS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from notify_streams.admin.trigger_producer import Upload
    from notify_streams.settings import Settings

_BOM: Final = b"\xef\xbb\xbf"
#: A larger file waits on disk.
_IN_MEMORY_BYTES: Final = 64 * 1024 * 1024
#: So many triggers that cannot be used are named.
_MAX_NAMED: Final = 20
_PART_SENT: Final = (
    "some of the triggers may be sent: send the file again, those that were taken are found as duplicates"
)
_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


@click.command()
@click.argument("file", type=click.File("rb"))
@click.option(
    "--system", help="The upstream system to send as. Default: the trigger's category, if a system has that name."
)
@region_option
@as_json
def send(file: IO[bytes], system: str | None, region: str, as_json: bool) -> None:
    """Send triggers from FILE (- for standard input), one JSON object a line. Returns when Kafka has all of them.

    Nothing is sent if a line is not a JSON object. A trigger that cannot be used is sent and named: it ends as a dead letter.
    """
    settings = settings_of(region)
    if system is not None and system not in settings.trigger_systems:
        raise Refused(f"unknown upstream system {system!r}; known are {', '.join(settings.trigger_systems)}")
    with _checked(file) as lines:
        sent = run(_send(settings, _uploads(lines, system, settings)), settings, interrupted=_PART_SENT)
    print_result(as_json, {"sent": sent}, [f"sent {sent} triggers to region {region}"])


@contextmanager
def _checked(file: IO[bytes]) -> Iterator[IO[bytes]]:
    """The lines of `file` that are not empty, after all of them were checked."""
    from notify_streams.records.trigger import Rejection, read_trigger

    refused = 0
    with SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES) as checked:
        for number, line in enumerate(file, start=1):
            value = (line.removeprefix(_BOM) if number == 1 else line).strip()
            if not value:
                continue
            if not _is_object(value):
                raise Refused(f"{file.name}:{number}: not a JSON object; write one trigger a line. Nothing was sent")
            if isinstance(found := read_trigger(value, ()), Rejection):
                refused += 1
                if refused <= _MAX_NAMED:
                    print_progress(f"{file.name}:{number}: {found.detail}; it ends as a dead letter ({found.reason})")
            checked.write(value + b"\n")
        if refused > _MAX_NAMED:
            print_progress(f"{refused - _MAX_NAMED} more end as dead letters")
        checked.seek(0)
        yield checked


def _is_object(value: bytes) -> bool:
    try:
        value.decode()  # the decoder does not check the bytes of `Raw`
        _decode_object(value)
    except DECODE_ERRORS:
        return False
    return True


def _uploads(lines: Iterable[bytes], system: str | None, settings: Settings) -> Iterator[Upload]:
    from notify_streams.admin.trigger_producer import owner_of

    for line in lines:
        value = line.rstrip()
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
