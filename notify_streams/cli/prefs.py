"""`notify-streams prefs get|set|stop-all|link|import`: users' choices."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from notify_streams.cli.output import (
    as_json,
    categories_of,
    print_progress,
    print_result,
    region_option,
    run,
    settings_of,
)
from notify_streams.cli.registered_user import registered_user
from notify_streams.errors import Refused, RetryLater
from notify_streams.records.addresses import is_mail_address, is_phone_number
from notify_streams.records.choice_sources import ChoiceSource
from notify_streams.records.user_records import ALL
from notify_streams.roles import CHANNELS

if TYPE_CHECKING:
    from typing import Literal

    from notify_streams.preferences.bulk_import import ImportProgress
    from notify_streams.roles import Channel
    from notify_streams.settings import Settings

_EVERY: int = 50_000


class StoredFor(msgspec.Struct, frozen=True):
    """A choice that was stored in one region."""

    user_id: str
    version: int
    #: Of the person.
    home_region: str


@click.group()
def prefs() -> None:
    """What people chose to get, and on which channel."""


@prefs.command("get")
@click.argument("user_id")
@region_option
@as_json
def get_choices(user_id: str, region: str, as_json: bool) -> None:
    """Show a person's choices and what follows from silence."""
    settings = settings_of(region)
    value = run(_get(settings, user_id), settings)
    if value["version"] == 0 and run(_is_unknown(settings, user_id), settings):
        raise Refused(f"no user {user_id!r} has signed up")
    lines = [f"{user_id}: version {value['version']}"]
    lines += [
        f"  {one['category']:<12} {one['channel']:<6} {one['choice']:<6} (default {one['default']})"
        for one in value["choices"]
    ]
    print_result(as_json, value, lines)


async def _is_unknown(settings: Settings, user_id: str) -> bool:
    """Whether the registry answers that no one with this id has signed up."""
    try:
        return await registered_user(settings, user_id) is None
    except RetryLater:
        return False


async def _get(settings: Settings, user_id: str) -> dict[str, Any]:
    from notify_streams.admin.connections import connected
    from notify_streams.records.partitioner import bucket_of

    categories = categories_of()
    async with connected(settings, categories, publishes=False) as region:
        record = await region.preferences.repository.read(bucket_of(user_id, settings.partitions), user_id)
    choices = []
    for name, category in categories.items():
        for channel, default in category.channels.items():
            chosen = record.choices.get(category.number, {}).get(channel)
            said = "unset" if chosen is None else "in" if chosen.opted_in else "out"
            choices.append({"category": name, "channel": channel, "choice": said, "default": default.value})
    return {"user_id": user_id, "version": record.version, "choices": choices}


@prefs.command("set")
@click.argument("user_id")
@click.argument("category")
@click.argument("channel", type=click.Choice(CHANNELS))
@click.argument("choice", type=click.Choice(["in", "out"]))
@region_option
@as_json
def set_choice(user_id: str, category: str, channel: Channel, choice: str, region: str, as_json: bool) -> None:
    """Store a choice. Done means: no call that ignores it starts later than the bound of the settings (one second)."""
    from notify_streams.preferences.categories import Default

    policy = categories_of().get(category)
    if policy is None or channel not in policy.channels:
        raise Refused(f"no category {category!r} with channel {channel!r}; there are {', '.join(categories_of())}")
    if policy.channels[channel] is Default.ALWAYS and choice == "out":
        raise Refused(f"{category} by {channel} cannot be turned off")
    settings = settings_of(region)
    stored = run(_set(settings, user_id, category, channel, choice == "in"), settings)
    _print_stored(as_json, settings, stored, f"{category} by {channel} is {choice}")


@prefs.command("stop-all")
@click.argument("user_id")
@region_option
@as_json
def stop_all(user_id: str, region: str, as_json: bool) -> None:
    """Opt out of every category and channel that can be turned off."""
    settings = settings_of(region)
    stored = run(_set(settings, user_id, ALL, ALL, opted_in=False), settings)
    _print_stored(as_json, settings, stored, "everything that can be turned off is out")


def _print_stored(as_json: bool, settings: Settings, stored: StoredFor, what: str) -> None:
    print_result(as_json, msgspec.to_builtins(stored), stored_lines(settings.region, stored, what))


def stored_lines(here: str, stored: StoredFor, what: str) -> list[str]:
    """What was stored, and from when on it holds: in another region than the person's it is not within the bound."""
    lines = [f"{stored.user_id}: {what}, version {stored.version}"]
    home = stored.home_region
    if home != here:
        lines.append(
            f"the home region is {home}: there it holds once the copy from {here} has arrived; with --region {home} it holds at once"
        )
    return lines


async def _set(
    settings: Settings, user_id: str, category: str, channel: Channel | Literal["*"], opted_in: bool
) -> StoredFor:
    from notify_streams.admin.connections import connected
    from notify_streams.records.partitioner import bucket_of

    user = await registered_user(settings, user_id)
    if user is None:
        raise Refused(f"no user {user_id!r} has signed up")
    async with connected(settings, categories_of()) as region:
        bucket = bucket_of(user_id, settings.partitions)
        accepted = await region.preferences.writer.put(
            user_id, bucket, category, channel, opted_in, datetime.now(UTC), ChoiceSource.CLI
        )
        return StoredFor(user_id, accepted.version, user.region)


@prefs.command("address")
@click.argument("channel", type=click.Choice(["sms", "email"]))
@click.argument("address")
@click.option("--stop", is_flag=True, help="Send nothing to it any more, whatever the category.")
@click.option("--allow", is_flag=True, help="Take every reason back, as after a bounce that was an error.")
@region_option
@as_json
def show_address(channel: Channel, address: str, stop: bool, allow: bool, region: str, as_json: bool) -> None:
    """Show whether a number or mail address is suppressed, and why; or change it."""
    if stop and allow:
        raise Refused("give --stop or --allow, not both")
    address = address.strip()
    if not (is_phone_number(address) if channel == "sms" else is_mail_address(address)):
        # Nothing is ever sent to it, and the hash of a number or mailbox that is written wrongly is that of no one.
        raise Refused("no number of the form +15550000042" if channel == "sms" else "no mail address")
    settings = settings_of(region)
    value = run(_address(settings, channel, address, stop, allow), settings)
    lines = [f"  {one['reason']:<10} since {one['at']} ({one['source']})" for one in value["suppressed"]]
    print_result(as_json, value, [f"{'suppressed' if lines else 'not suppressed'}: {value['id']}", *lines])


async def _address(settings: Settings, channel: Channel, address: str, stop: bool, allow: bool) -> dict[str, Any]:
    from notify_streams.admin.connections import connected
    from notify_streams.preferences.suppressed_addresses import SUPPRESSION_NUMBERS

    async with connected(settings, categories_of(), publishes=stop or allow) as region:
        stops, repository = region.preferences.stops, region.preferences.repository
        identity, bucket = stops.identity_of(channel, address)
        if stop:
            await stops.suppress_address(channel, address, "stopped", source=ChoiceSource.CLI)
        suppressed = []
        choices = (await repository.read(bucket, identity)).choices
        for why, number in SUPPRESSION_NUMBERS.items():
            choice = choices.get(number, {}).get(channel)
            if choice is None or choice.opted_in:
                continue
            if allow:
                await stops.allow_address(channel, address, why=why, source=ChoiceSource.CLI)
            else:
                suppressed.append({"reason": why, "at": choice.at.isoformat(), "source": choice.source})
    return {"id": identity, "channel": channel, "suppressed": suppressed}


@prefs.command("link")
@click.argument("user_id")
@click.option("--locale", help="Of the page; default: the person's.")
@region_option
@as_json
def link(user_id: str, locale: str | None, region: str, as_json: bool) -> None:
    """Print the link of a person's preference page. Who has it can choose for the person: give it to no one else."""
    from notify_streams.delivery.mail_links import mail_links_of

    settings = settings_of(region)
    links = mail_links_of(settings, categories_of())
    if links is None:
        raise Refused(f"there are no links: set public.urls.{settings.region} and public.link_keys")
    user = run(registered_user(settings, user_id), settings)
    if user is None:
        raise Refused(f"no user {user_id!r} has signed up")
    url = links.preferences(user_id, locale or user.locale)
    print_result(as_json, {"user_id": user_id, "url": url}, [url])


@prefs.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--checkpoint", type=click.Path(dir_okay=False, path_type=Path), help="FILE.checkpoint if not given.")
@region_option
@as_json
def import_choices(file: Path, checkpoint: Path | None, region: str, as_json: bool) -> None:
    """Import preference updates, one JSON object a line.

    Run it again after a failure, and it goes on where it stopped.
    """
    settings = settings_of(region)
    checkpoint = checkpoint or file.with_name(f"{file.name}.checkpoint")
    left = "run the same command again: it goes on where it stopped"
    progress = run(_import(settings, file, file.stat().st_size or 1, checkpoint), settings, interrupted=left)
    value = {"lines": progress.lines, "applied": progress.applied, "bad": progress.bad}
    print_result(as_json, value, [f"{progress.applied} of {progress.lines} lines applied, {progress.bad} bad"])
    raise SystemExit(1 if progress.bad else 0)


async def _import(settings: Settings, file: Path, size: int, checkpoint: Path) -> ImportProgress:
    from notify_streams.admin.connections import connected
    from notify_streams.gc_tuning import tune_gc
    from notify_streams.preferences.bulk_import import import_file
    from notify_streams.records.partitioner import bucket_of

    tune_gc()
    said = 0

    def show(progress: ImportProgress) -> None:
        nonlocal said
        if progress.lines - said >= _EVERY or sys.stderr.isatty():
            said = progress.lines
            print_progress(f"{100 * progress.offset // size:3d} %  {progress.lines} lines")

    async with connected(settings, categories_of()) as region:
        return await import_file(
            file,
            region.preferences.writer,
            lambda user_id: bucket_of(user_id, settings.partitions),
            checkpoint=checkpoint,
            on_bad_line=lambda number, why: print_progress(f"{file}:{number}: {why}"),
            on_progress=show,
        )
