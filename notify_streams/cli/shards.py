"""`notify-streams shards init|check|move`: MongoDB; `init` makes the registry's table as well."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import click
from rich.console import Console
from rich.table import Table

from notify_streams.admin.bootstrap import create_registry
from notify_streams.admin.shards import check_shards, init_shards, move_bucket
from notify_streams.cli.output import as_json, print_progress, print_result, region_option, run, settings_of
from notify_streams.settings import Settings
from notify_streams.stores.mongo import Shards

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from notify_streams.admin.shards.check import Finding

#: A finding is one line, so that it can be searched for; a terminal folds it.
_LINE: Final = 240


@click.group()
def shards() -> None:
    """The region's MongoDB shards."""


@shards.command()
@region_option
@as_json
def init(region: str, as_json: bool) -> None:
    """Create collections, indexes and the registry's table; behind a mongos, shard by bucket. Safe to run again."""
    done = run(_init(settings_of(region)))
    print_result(as_json, {"done": done}, done)


@shards.command()
@region_option
@as_json
def check(region: str, as_json: bool) -> None:
    """Exit 1 unless every shard is as `init` makes it and holds its own buckets alone."""
    findings = run(_check(settings_of(region)))
    holds = all(one.holds for one in findings)
    if as_json:
        print_result(as_json, {"holds": holds, "findings": [one.as_json() for one in findings]}, ())
    else:
        _show(findings)
    raise SystemExit(0 if holds else 1)


@shards.command()
@click.argument("bucket", type=int)
@click.option("--to", required=True, type=int, help="Its place in the list `shards` of the settings, from 0.")
@region_option
@as_json
def move(bucket: int, to: int, region: str, as_json: bool) -> None:
    """Move a bucket to another shard while everything runs; run it again if it was interrupted.

    While it compares the two sides and waits for the workers to know (seconds), triggers of this bucket's people wait as well.
    """
    done = run(_move(settings_of(region), bucket, to))
    print_result(as_json, done, [f"bucket {bucket} is on shard {to}: {done['rows']} rows"])


@asynccontextmanager
async def _opened(settings: Settings) -> AsyncIterator[Shards]:
    opened = Shards(settings)
    await opened.start()
    try:
        yield opened
    finally:
        await opened.close()


async def _init(settings: Settings) -> list[str]:
    async with _opened(settings) as opened:
        done = await init_shards(settings, opened)
    await create_registry(settings)
    return [*done, f"registry: table {settings.users_table}"]


async def _check(settings: Settings) -> list[Finding]:
    async with _opened(settings) as opened:
        return await check_shards(settings, opened)


async def _move(settings: Settings, bucket: int, to: int) -> dict[str, Any]:
    async with _opened(settings) as opened:
        return await move_bucket(settings, opened, bucket, to, print_progress)


def _show(findings: Sequence[Finding]) -> None:
    table = Table("shard", "what", "found", "what to do", box=None, pad_edge=False)
    for one in findings:
        table.add_row(str(one.shard), one.what, one.found, one.remedy or "-")
    Console(width=_LINE).print(table)
