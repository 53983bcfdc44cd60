"""`notify-streams users`: adds, moves, shows and erases users."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, get_args

import click

from notify_streams.cli.output import as_json, print_result, region_option, run, settings_of
from notify_streams.cli.person import erased, export, forget
from notify_streams.cli.region_completion import complete_region
from notify_streams.cli.registered_user import registered_user
from notify_streams.errors import Refused
from notify_streams.records.devices import Device, PushProvider, shown_devices
from notify_streams.records.trigger import Rejection
from notify_streams.records.user_records import Contacts, Signup, encode_record, push_fields, read_contacts, read_signup
from notify_streams.topics import USER_CONTACTS, USER_SIGNUPS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from notify_streams.admin.trigger_producer import Upload
    from notify_streams.settings import Settings


@click.group()
def users() -> None:
    """Users: their home regions and contacts."""


users.add_command(export)
users.add_command(forget)
users.add_command(erased)


@users.command()
@click.argument("user_id")
@click.option(
    "--home", shell_complete=complete_region, help="Home region; default: the region that the record is sent to."
)
@click.option("--push", help="The app instance's token, instead of all devices; '' removes them.")
@click.option(
    "--device",
    "devices",
    multiple=True,
    callback=lambda _context, _option, given: [_device(text) for text in given],
    metavar="PROVIDER:TOKEN",
    help=f"A further device; may be repeated. PROVIDER: {', '.join(get_args(PushProvider))}.",
)
@click.option("--sms", help="An E.164 number; '' removes it.")
@click.option("--email", help="An address; '' removes it.")
@click.option("--locale", help="Of the texts; default for a new user: en.")
@click.option("--time-zone", help="Of times in the texts; default for a new user: UTC.")
@region_option
@as_json
def add(
    user_id: str,
    home: str | None,
    push: str | None,
    devices: list[Device],
    sms: str | None,
    email: str | None,
    locale: str | None,
    time_zone: str | None,
    region: str,
    as_json: bool,
) -> None:
    """Register a user, or change a registered one: what is not given stays as it is."""
    settings = settings_of(region)
    if home is not None:
        _known(settings, home)
    if push is not None and devices:
        raise Refused("--push and --device are both given: --push is the only device of its user")
    addresses = {"push": push, "sms": sms, "email": email}
    home = run(_add(settings, user_id, home, addresses, devices, locale, time_zone), settings)
    print_result(as_json, {"user_id": user_id, "home": home}, [f"{user_id} is a user of region {home}"])


async def _add(
    settings: Settings,
    user_id: str,
    home: str | None,
    addresses: Mapping[str, str | None],
    devices: Sequence[Device],
    locale: str | None,
    time_zone: str | None,
) -> str:
    now = datetime.now(UTC)
    user = await registered_user(settings, user_id)
    if user is None:
        signup = Signup(user_id, home or settings.region, now, 1, locale or "en", time_zone or "UTC")
    else:
        if home not in (None, user.region):
            raise Refused(f"{user_id} lives in {user.region}; `users move` moves a user")
        if user.region != settings.region:
            raise Refused(f"{user_id} lives in {user.region}, which has the contacts: use --region {user.region}")
        signup = Signup(user_id, user.region, now, user.version + 1, locale or user.locale, time_zone or user.time_zone)
    stored = await _stored_contacts(settings, user_id)
    given: dict[str, Any] = {name: address for name, address in addresses.items() if address is not None}
    kept = {} if stored is None else {name: getattr(stored, name) for name in (*addresses, "devices")}
    if devices:
        given |= push_fields_with(stored, devices)
    elif "push" in given:
        given["devices"] = None
    # Routers know contacts only, so these have the locale and the time zone too.
    contacts = Contacts(user_id, now, **(kept | given), locale=signup.locale, time_zone=signup.time_zone)
    values = encode_record(contacts), encode_record(signup)
    now_ms = int(now.timestamp() * 1000) + 1
    for checked in (read_contacts(values[0], now_ms), read_signup(values[1], now_ms)):
        if isinstance(checked, Rejection):
            raise Refused(checked.detail)
    uploads: list[Upload] = [(USER_CONTACTS, user_id, values[0], ())]
    if user is None or (user.locale, user.time_zone) != (signup.locale, signup.time_zone):
        uploads.append((USER_SIGNUPS, user_id, values[1], ()))
    await _send(settings, uploads)
    return signup.region


def _device(text: str) -> Device:
    """The device of ``provider:token``; both parts are checked with the record."""
    provider, _, token = text.partition(":")
    for known in get_args(PushProvider):
        if provider == known and token:
            return Device(token, known)
    raise click.BadParameter(f"must begin with the provider, one of {', '.join(get_args(PushProvider))}, and a colon")


def push_fields_with(stored: Contacts | None, added: Sequence[Device]) -> dict[str, Any]:
    """The push fields of the stored contacts with these devices. One with a known token replaces it."""
    held = () if stored is None else stored.devices or (() if stored.push is None else (Device(stored.push),))
    by_token = {device.token: device for device in (*held, *added)}
    return push_fields(tuple(by_token.values()))


async def _stored_contacts(settings: Settings, user_id: str) -> Contacts | None:
    from notify_streams.records.partitioner import bucket_of
    from notify_streams.registry.contact_repository import ContactRepository
    from notify_streams.stores.mongo import Shards

    async with Shards(settings) as shards:
        await shards.refresh_directory()
        return (await ContactRepository(shards).read({user_id: bucket_of(user_id, settings.partitions)})).get(user_id)


@users.command()
@click.argument("user_id")
@region_option
@as_json
def devices(user_id: str, region: str, as_json: bool) -> None:
    """Show a user's devices: a hash of each token, its last 4 characters, and what is known of the device."""
    settings = settings_of(region)
    stored = run(_stored_contacts(settings, user_id), settings)
    if stored is None:
        raise Refused(f"{region} has no contacts of {user_id!r}; the user's home region has them")
    found = shown_devices(stored.push, stored.devices)
    lines = [
        f"{one['token_sha']}  …{one['token_end']:<4}  {one['provider'] or settings.providers.push_provider}"
        + "".join(f", {name} {value}" for name in ("app", "locale", "last_seen") if (value := one[name]))
        for one in found
    ]
    print_result(as_json, {"user_id": user_id, "devices": found}, lines or [f"{user_id} has no device"])


@users.command()
@click.argument("user_id")
@click.option("--to", "target", required=True, shell_complete=complete_region, help="The new home region.")
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
    await _send(settings, [(USER_SIGNUPS, user_id, encode_record(moved), ())])
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
