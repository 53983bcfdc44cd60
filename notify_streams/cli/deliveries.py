"""`notify-streams deliveries`: list by how they ended, replay."""

from __future__ import annotations

from dataclasses import asdict
from heapq import heappush, heappushpop
from typing import TYPE_CHECKING, Any

import click

from notify_streams.cli.output import as_json, categories_of, print_result, region_option, run, settings_of
from notify_streams.cli.providers import PROVIDERS
from notify_streams.errors import Refused
from notify_streams.records.outcomes import DeliveryState

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable
    from datetime import datetime

    from notify_streams.admin.deliveries import FoundDelivery, ReplayOptions, Selection
    from notify_streams.settings import Settings


def _selected(command: Callable[..., None]) -> Callable[..., None]:
    """The options that select deliveries."""
    options = (
        click.option("--state", type=click.Choice([one.value for one in DeliveryState]), help="Only in this state."),
        click.option("--reason", help="Only with this reason; a receipt's may be the provider's own."),
        click.option("--provider", type=click.Choice(PROVIDERS), help="Only of this provider."),
        click.option("--category", help="Only of this category."),
        click.option("--since", type=click.DateTime(), metavar="UTC-TIME", help="Only decided since then."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.group()
def deliveries() -> None:
    """Show deliveries by how they ended, and make another attempt."""


@deliveries.command("list")
@_selected
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1), help="The last so many.")
@region_option
@as_json
def list_deliveries(limit: int, region: str, as_json: bool, **selected: Any) -> None:
    """One line each, those decided last first: delivery id, state, reason, provider, attempts. No contacts."""
    settings = settings_of(region)
    count, shown = run(_find(settings, _selection(None, **selected), limit), settings)
    category = selected["category"]
    if not count and category is not None and category not in (known := categories_of()):
        # A removed category still has deliveries; one that is misspelt would look as if nothing were wrong.
        raise Refused(f"no category {category!r}; there are {', '.join(known)}")
    lines = [_line(one) for one in shown]
    lines.append(f"{count} deliveries" + (f", {limit} are shown" if count > limit else ""))
    print_result(as_json, {"count": count, "deliveries": [asdict(one) for one in shown]}, lines)


@deliveries.command()
@click.argument("ids", nargs=-1, metavar="[DELIVERY-ID]...")
@_selected
@click.option("--again", is_flag=True, help="Also what was sent: its receiver may get it twice.")
@click.option(
    "--expires",
    "expires_s",
    type=click.FloatRange(1, 31_622_400),
    metavar="SECONDS",
    help="Expired messages get so much time.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@region_option
@as_json
def replay(
    ids: tuple[str, ...],
    again: bool,
    expires_s: float | None,
    dry_run: bool,
    region: str,
    as_json: bool,
    **selected: Any,
) -> None:
    """Make another attempt for deliveries that have ended: those given, or those selected by the options.

    Choices and expiry are checked again. Workers begin within 30 s.
    """
    if not (ids or any(value is not None for value in selected.values())):
        raise Refused("name deliveries, or select them: --reason provider_rejected, --state failed, ...")
    from notify_streams.admin.deliveries import ReplayOptions

    settings = settings_of(region)
    options = ReplayOptions(again, expires_s)
    left = "some may be replayed: run it again, they are left alone then"
    work = _replay(settings, _selection(ids or None, **selected), options, dry_run=dry_run)
    done = run(work, settings, interrupted="" if dry_run else left)
    words = {
        "replayed": "would be replayed" if dry_run else "are replayed",
        "open": "have not ended",
        "not_queued": "never had a message: they were suppressed or expired when they were decided",
        "gone": "have no message in Kafka any more",
        "expired": "have expired: add --expires SECONDS",
        "changed": "have had another attempt or a receipt meanwhile: see how they ended, and run the command again",
    }
    lines = [f"{len(found)} {words[name]}" for name, found in done.items() if found] or ["no such delivery"]
    print_result(as_json, done, lines)
    raise SystemExit(0 if done["replayed"] else 1)


def _selection(ids: tuple[str, ...] | None, *, since: datetime | None, **fields: Any) -> Selection:
    from datetime import UTC

    from notify_streams.admin.deliveries import Selection

    return Selection(ids, since=None if since is None else since.replace(tzinfo=UTC), **fields)


async def _find(settings: Settings, selection: Selection, limit: int) -> tuple[int, list[FoundDelivery]]:
    from notify_streams.admin.deliveries import find_deliveries
    from notify_streams.stores.mongo import Shards

    async with Shards(settings) as shards:
        await shards.refresh_directory(require_all=True)
        return await newest(find_deliveries(settings, shards, selection), limit)


async def newest(deliveries: AsyncIterable[FoundDelivery], limit: int) -> tuple[int, list[FoundDelivery]]:
    """How many there are, and the `limit` that were decided last, the last first.

    Holds no more than these: a region has millions.
    """
    count = 0
    kept: list[tuple[datetime, int, FoundDelivery]] = []
    async for one in deliveries:
        count += 1
        keep = heappush if len(kept) < limit else heappushpop
        keep(kept, (one.decided_at, count, one))
    return count, [one for _, _, one in sorted(kept, reverse=True)]


async def _replay(
    settings: Settings, selection: Selection, options: ReplayOptions, *, dry_run: bool
) -> dict[str, list[str]]:
    from notify_streams.admin.deliveries import find_deliveries, replay_deliveries
    from notify_streams.stores.mongo import Shards

    async with Shards(settings) as shards:
        await shards.refresh_directory(require_all=True)
        found = [one async for one in find_deliveries(settings, shards, selection)]
        return await replay_deliveries(settings, shards, found, options, dry_run=dry_run)


def _line(one: FoundDelivery) -> str:
    words = [one.id, one.state, one.reason and f"({one.reason})", one.provider, one.code, f"{one.attempts} attempts"]
    return " ".join(word for word in words if word)
