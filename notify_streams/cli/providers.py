"""`notify-streams providers`: what is called, pauses, credentials."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from notify_streams.cli.output import (
    as_json,
    categories_of,
    print_progress,
    print_result,
    region_option,
    run,
    run_async,
    settings_of,
    write,
)
from notify_streams.errors import Refused, StoreUnavailable
from notify_streams.roles import CHANNELS

if TYPE_CHECKING:
    from notify_streams.delivery.pauses import ProviderPauses
    from notify_streams.settings import Settings

PROVIDERS: Final = ("fcm", "apns", "web_push", "twilio", "sns", "smtp", "ses")


@click.group()
def providers() -> None:
    """Show, check, pause and resume the calls to providers."""


@providers.command("list")
@region_option
@as_json
def list_providers(region: str, as_json: bool) -> None:
    """Show each worker's providers: state of the circuit breaker, calls under way, limit, pauses."""
    settings = settings_of(region)
    found = run(_list(settings), settings)
    lines = [
        f"{one['provider']:<8} paused since {one['paused_since']}" + (f": {one['why']}" if one["why"] else "")
        for one in found
        if one.get("paused_since")
    ]
    lines += [
        f"{one['provider']:<8} {one['role']:<12} {one['state']}, {one['calls']} calls under way"
        + (f", next probe in {one['open_for_s']:.0f} s" if one["open_for_s"] else "")
        + ("" if one["calls_per_s"] is None else f", at most {one['calls_per_s']:g} calls/s")
        + "".join(
            f", {name} fails because of the credential ({why})" for name, why in one["credential_problems"].items()
        )
        + "".join(
            f", {name} has no valid key of ours for one platform ({why})"
            for name, why in one["platform_problems"].items()
        )
        for one in found
        if "role" in one
    ]
    print_result(as_json, {"providers": found}, lines or ["no worker answers; nothing is paused"])


class Target(click.ParamType):
    """A provider, or a category on a channel."""

    name = "target"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        channel, _, category = value.partition(":")
        if value not in PROVIDERS and not (channel in CHANNELS and category):
            self.fail(
                f"{value!r} is none of {', '.join(PROVIDERS)}, and no CHANNEL:CATEGORY as email:marketing", param, ctx
            )
        return value


@providers.command()
@click.argument("target", type=Target())
@region_option
def pause(target: str, region: str) -> None:
    """Begin no call to TARGET any more, within 2 s: a provider, or the messages of a category (email:marketing).

    Messages wait, and expire as they would.
    """
    _require_category(target)
    settings = settings_of(region)
    run(_change(settings, target, paused=True), settings)
    write(f"{target} is paused in {region}: `notify-streams providers resume {target}` ends it\n")


@providers.command()
@click.argument("target", type=Target())
@region_option
def resume(target: str, region: str) -> None:
    """End a pause. What was counted of a category's mails until now pauses it no more."""
    settings = settings_of(region)
    run(_change(settings, target, paused=False), settings)
    write(f"{target} is called again in {region}\n")


@providers.command()
@region_option
@as_json
def check(region: str, as_json: bool) -> None:
    """Ask each channel's provider whether it takes our credential; sends nothing.

    Exit 1 with a line for each that does not.
    """
    from notify_streams.admin.credential_checks import check_all_credentials

    found = run_async(check_all_credentials(settings_of(region)))
    lines = [
        f"{one['provider']} {'' if one['credential'] == 1 else one['credential']}".ljust(8)
        + f" {'ok' if one['ok'] else 'WRONG'}: {one['text']}"
        for one in found
    ]
    holds = all(one["ok"] for one in found)
    print_result(as_json, {"holds": holds, "providers": found}, lines)
    raise SystemExit(0 if holds else 1)


def _require_category(target: str) -> None:
    """
    Raises:
        Refused: a category that there is not, or not on this channel. A pause of it would stop nothing.
    """
    channel, _, category = target.partition(":")
    if not category:
        return
    categories = categories_of()
    if category not in categories or channel not in categories[category].channels:
        raise Refused(f"no category {category!r} with channel {channel!r}; there are {', '.join(categories)}")


async def _change(settings: Settings, target: str, *, paused: bool) -> None:
    from notify_streams.delivery.reputation import ReputationCounts
    from notify_streams.stores.mongo import Shards

    async with Shards(settings) as shards:
        pauses = _pauses(settings, shards)
        if not paused and target not in await pauses.read():
            _require_category(target)  # one that was removed from the settings may be paused still
        try:
            if paused:
                await pauses.pause(target)
                return
            channel, _, category = target.partition(":")
            if channel == "email":
                await ReputationCounts(shards, settings.outbox.transaction_timeout_s).forgive(category)
            await pauses.resume(target)
        except StoreUnavailable:
            print_progress(
                "the shards that answer may have it: `providers list` shows it; run the command again once all do"
            )
            raise


async def _list(settings: Settings) -> list[dict[str, Any]]:
    import msgspec

    from notify_streams.stores.mongo import Shards
    from notify_streams.web.peers import fetch_peers

    async with Shards(settings) as shards:
        paused = await _pauses(settings, shards).read()
    found: list[dict[str, Any]] = [
        {"provider": name, "paused_since": pause.since.isoformat(timespec="seconds"), "why": pause.why}
        for name, pause in sorted(paused.items())
    ]
    found += [
        {"role": summary.role, **msgspec.structs.asdict(msgspec.structs.replace(state, further=()))}
        for peer in (await fetch_peers(settings)).workers
        if (summary := peer.summary) is not None and summary.provider_state is not None
        for state in (summary.provider_state, *summary.provider_state.further)
    ]
    return found


def _pauses(settings: Settings, shards: Any) -> ProviderPauses:
    from notify_streams.delivery.pauses import ProviderPauses

    return ProviderPauses(shards, settings.outbox.transaction_timeout_s)
