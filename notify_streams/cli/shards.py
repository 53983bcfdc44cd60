"""`notify-streams shards init`."""

from __future__ import annotations

import click

from notify_streams.cli.answers import answer, as_json, region_option, run, settings_of
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
    """Create collections and indexes; behind a mongos, shard them by bucket. Safe to run again."""
    done = run(_init(settings_of(region)))
    answer(as_json, {"done": done}, done)


async def _init(settings: Settings) -> list[str]:
    opened = Shards(settings)
    await opened.start()
    try:
        return await init_shards(settings, opened)
    finally:
        await opened.close()
