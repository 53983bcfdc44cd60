"""`notify-streams users add|move`: sends sign-ups, contacts and moves."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click
import msgspec

from notify_streams.cli.output import as_json, print_result, region_option, run, settings_of
from notify_streams.cli.registered_user import registered_user
from notify_streams.errors import Refused
from notify_streams.records.trigger import Rejection
from notify_streams.records.user_records import Contacts, Signup, read_contacts, read_signup
from notify_streams.topics import USER_CONTACTS, USER_SIGNUPS

if TYPE_CHECKING:
    from notify_streams.admin.trigger_producer import Upload
    from notify_streams.settings import Settings

_encode = msgspec.json.Encoder().encode


@click.group()
def users() -> None:
    """Users: their home regions and contacts."""


@users.command()
@click.argument("user_id")
@click.option("--home", help="Home region; default: the region that the record is sent to.")
@click.option("--push", help="The app instance's token.")
@click.option("--sms", help="An E.164 number.")
@click.option("--email", help="An address.")
@click.option("--locale", default="en", show_default=True)
@click.option("--time-zone", default="UTC", show_default=True)
@region_option
@as_json
def add(
    user_id: str,
    home: str | None,
    push: str | None,
    sms: str | None,
    email: str | None,
    locale: str,
    time_zone: str,
    region: str,
    as_json: bool,
) -> None:
    """Register a user."""
    settings = settings_of(region)
    now = datetime.now(UTC)
    signup = _encode(Signup(user_id, _known(settings, home or region), now, 1, locale, time_zone))
    contacts = _encode(Contacts(user_id, now, push, sms, email))
    now_ms = int(now.timestamp() * 1000) + 1
    for checked in (read_signup(signup, now_ms), read_contacts(contacts, now_ms)):
        if isinstance(checked, Rejection):
            raise Refused(checked.detail)
    uploads: list[Upload] = [(USER_CONTACTS, user_id, contacts, ()), (USER_SIGNUPS, user_id, signup, ())]
    run(_send(settings, uploads), settings)
    print_result(as_json, {"user_id": user_id, "home": home or region}, [f"{user_id} signs up in {home or region}"])


@users.command()
@click.argument("user_id")
@click.option("--to", "target", required=True, help="The new home region.")
@click.option("--version", type=click.IntRange(2), help="Default: the registered version and one.")
@region_option
@as_json
def move(user_id: str, target: str, version: int | None, region: str, as_json: bool) -> None:
    """Move a user to another home region."""
    settings = settings_of(region)
    version = run(_move(settings, user_id, _known(settings, target), version), settings)
    print_result(
        as_json,
        {"user_id": user_id, "home": target, "version": version},
        [f"{user_id} moves to {target}, version {version}"],
    )


async def _move(settings: Settings, user_id: str, target: str, version: int | None) -> int:
    user = await registered_user(settings, user_id)
    if user is None:
        raise Refused(f"no user {user_id!r} has signed up; register one with `users add`")
    if version is None:
        version = user.version + 1
    elif version <= user.version:
        raise Refused(f"version {user.version} is registered; a move needs a greater one")
    moved = Signup(user_id, target, datetime.now(UTC), version, user.locale, user.time_zone)
    await _send(settings, [(USER_SIGNUPS, user_id, _encode(moved), ())])
    return version


def _known(settings: Settings, region: str) -> str:
    if region not in settings.regions:
        raise Refused(f"unknown region {region!r}; the regions are {', '.join(settings.regions)}")
    return region


async def _send(settings: Settings, uploads: list[Upload]) -> None:
    from notify_streams.admin.topics import require_topics
    from notify_streams.admin.trigger_producer import TriggerProducer

    await require_topics(settings)
    async with TriggerProducer(settings) as upstream:
        await upstream.send(uploads)
