"""`notify-streams shards init`: MongoDB, and the registry's table beside it."""

from __future__ import annotations

import click

from notify_streams.cli.answers import answer, as_json, region_option, run, settings_of
from notify_streams.ops.ready import make_registry
from notify_streams.ops.shards import init_shards
from notify_streams.settings import Settings
from notify_streams.stores.shards import Shards


@click.group()
def shards() -> None:
    """The region's MongoDB shards."""


@shards.command()
@region_option
@as_json
def init(region: str, as_json: bool) -> None:
    """Create collections, indexes and the registry's table; behind a mongos, shard by bucket. Safe to run again."""
    done = run(_init(settings_of(region)))
    answer(as_json, {"done": done}, done)


async def _init(settings: Settings) -> list[str]:
    opened = Shards(settings)
    await opened.start()
    try:
        done = await init_shards(settings, opened)
    finally:
        await opened.close()
    await make_registry(settings)
    return [*done, f"registry: table {settings.users_table}"]
