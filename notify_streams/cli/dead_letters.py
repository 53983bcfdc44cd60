"""`notify-streams dead-letters`: list, show, send again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from notify_streams.cli.output import as_json, print_result, region_option, run, settings_of
from notify_streams.errors import Refused
from notify_streams.records.outcomes import DeadReason

if TYPE_CHECKING:
    from datetime import datetime

    from notify_streams.admin.dead_letters import DeadLetter, Selection
    from notify_streams.settings import Settings

_MAX_VALUE_CHARS = 2_000

_reason = click.option(
    "--reason", type=click.Choice([one.value for one in DeadReason]), metavar="REASON", help="Only with this reason."
)
_topic = click.option("--topic", help="Only of this topic.")
_since = click.option("--since", type=click.DateTime(), metavar="UTC-TIME", help="Only younger ones.")


@click.group("dead-letters")
def dead_letters() -> None:
    """Show records that could not be processed, and send them again."""


@dead_letters.command("list")
@_reason
@_topic
@_since
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1), help="The newest so many.")
@region_option
@as_json
def list_dead_letters(
    reason: str | None, topic: str | None, since: datetime | None, limit: int, region: str, as_json: bool
) -> None:
    """One line each: PARTITION:OFFSET, time, reason, source. No contents."""
    settings = settings_of(region)
    count, shown = run(_newest(settings, _selection(None, reason, topic, since), limit), settings)
    lines = [f"{one.place:<10} {one.at:%Y-%m-%d %H:%M:%S} {one.why['reason']}: {_source(one)}" for one in shown]
    lines.append(f"{count} dead letters" + (f", the newest {limit} are shown" if count > limit else ""))
    print_result(as_json, {"count": count, "dead_letters": [_payload(one) for one in shown]}, lines)


@dead_letters.command()
@click.argument("place", metavar="PARTITION:OFFSET")
@region_option
@as_json
def show(place: str, region: str, as_json: bool) -> None:
    """Show one dead letter with the record's headers and the first 2,000 characters of its value."""
    settings = settings_of(region)
    found = run(_read(settings, _selection([place], None, None, None)), settings)
    if not found:
        raise Refused(f"no dead letter {place} in {region}: `notify-streams dead-letters list` shows them")
    payload = _payload(found[0]) | {
        "detail": found[0].why["detail"],
        "key": _text(found[0].key),
        "headers": {name: _text(content) for name, content in found[0].headers},
        "value": (_text(found[0].value) or "")[:_MAX_VALUE_CHARS],
    }
    print_result(as_json, payload, [f"{name}: {value}" for name, value in payload.items()])


@dead_letters.command()
@click.argument("places", nargs=-1, metavar="[PARTITION:OFFSET]...")
@_reason
@_topic
@_since
@click.option("--dry-run", is_flag=True, help="Only say what would be sent.")
@region_option
@as_json
def replay(
    places: tuple[str, ...],
    reason: str | None,
    topic: str | None,
    since: datetime | None,
    dry_run: bool,
    region: str,
    as_json: bool,
) -> None:
    """Send records again to the topics that they came from: those given, or those selected by the options.

    They are validated and decided as new ones. One that was notified meanwhile ends as a duplicate.
    """
    if not (places or reason or topic or since):
        raise Refused("name dead letters (PARTITION:OFFSET), or select them by --reason, --topic or --since")
    settings = settings_of(region)
    found = run(_selected(settings, _selection(places or None, reason, topic, since)), settings)
    if missing := set(places) - {letter.place for letter in found}:
        raise Refused(f"no dead letter {', '.join(sorted(missing))} in {region}; nothing was sent")
    left = "some may be sent: run it again, one that was notified meanwhile ends as a duplicate"
    sent = 0 if dry_run else run(_replay(settings, found), settings, interrupted=left)
    lines = [f"{one.place} {one.why['reason']}: {_source(one)}" for one in found] if dry_run else []
    lines.append(f"{len(found)} would be sent" if dry_run else f"sent {sent} records again")
    print_result(as_json, {"sent": sent, "dead_letters": [_payload(one) for one in found]}, lines)


def _selection(
    places: list[str] | tuple[str, ...] | None, reason: str | None, topic: str | None, since: datetime | None
) -> Selection:
    from datetime import UTC

    from notify_streams.admin.dead_letters import Selection

    return Selection(places, reason, topic, None, None if since is None else since.replace(tzinfo=UTC))


async def _newest(settings: Settings, selection: Selection, limit: int) -> tuple[int, list[DeadLetter]]:
    from notify_streams.admin.dead_letters import newest_dead_letters

    return await newest_dead_letters(settings, selection, limit)


async def _read(settings: Settings, selection: Selection) -> list[DeadLetter]:
    from notify_streams.admin.dead_letters import read_dead_letters

    return [letter async for letter in read_dead_letters(settings, selection)]


async def _selected(settings: Settings, selection: Selection) -> list[DeadLetter]:
    from notify_streams.admin.dead_letters import read_dead_letters

    return [letter.without_contents() async for letter in read_dead_letters(settings, selection)]


async def _replay(settings: Settings, letters: list[DeadLetter]) -> int:
    from notify_streams.admin.dead_letters import replay_dead_letters

    return await replay_dead_letters(settings, letters)


def _payload(letter: DeadLetter) -> dict[str, Any]:
    return {"place": letter.place, "at": letter.at, "reason": letter.why["reason"], "source": _source(letter)}


def _source(letter: DeadLetter) -> str:
    return ":".join(letter.why[name] for name in ("topic", "partition", "offset"))


def _text(content: bytes | None) -> str | None:
    return None if content is None else content.decode("utf-8", "replace")
