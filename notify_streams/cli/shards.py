"""`notify-streams shards init|check|move`: the region's MongoDB shards."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Final

import click

from notify_streams.cli.output import as_json, print_progress, print_result, region_option, run, settings_of, write

if TYPE_CHECKING:
    from collections.abc import Sequence

    from notify_streams.admin.shards.check import Finding
    from notify_streams.settings import Settings

#: One line per finding, so that `grep` works.
_LINE_WIDTH: Final = 240


@click.group()
def shards() -> None:
    """The region's MongoDB shards."""


@shards.command()
@region_option
@as_json
def init(region: str, as_json: bool) -> None:
    """Create collections and indexes; behind a mongos, shard by bucket. Safe to run again.

    In DynamoDB Local also the registry's table; on AWS `registry init` creates it.
    """
    settings = settings_of(region)
    done = run(_init(settings), settings)
    print_result(as_json, {"done": done}, done)


@shards.command()
@region_option
@as_json
def check(region: str, as_json: bool) -> None:
    """Exit 1 unless every shard is as `init` makes it and has rows of its own buckets only."""
    settings = settings_of(region)
    findings = run(_check(settings), settings)
    holds = all(finding.holds for finding in findings)
    if as_json:
        print_result(as_json, {"holds": holds, "findings": [finding.as_json() for finding in findings]}, ())
    else:
        print_findings(findings)
    raise SystemExit(0 if holds else 1)


@shards.command()
@click.argument("bucket", type=int)
@click.option("--to", required=True, type=int, help="Index of the target in `shards` of the settings, from 0.")
@region_option
@as_json
def move(bucket: int, to: int, region: str, as_json: bool) -> None:
    """Move a bucket to another shard while workers run; run it again if it was interrupted.

    For a few seconds, while the copies are compared and the workers read the new shard, triggers of the bucket's users wait.
    """
    settings = settings_of(region)
    left = "triggers of the bucket's users may wait until the same command has ended: run it again"
    done = run(_move(settings, bucket, to), settings, interrupted=left)
    print_result(as_json, done, [f"bucket {bucket} is on shard {to}: {done['rows']} rows"])


async def _init(settings: Settings) -> list[str]:
    from notify_streams.admin.bootstrap import create_registry
    from notify_streams.admin.shards import init_shards
    from notify_streams.stores.mongo import Shards

    async with Shards(settings) as shards:
        done = await init_shards(settings, shards)
    await create_registry(settings)
    return [*done, f"registry: table {settings.users_table}"] if settings.dynamodb is not None else done


async def _check(settings: Settings) -> list[Finding]:
    from notify_streams.admin.shards import check_shards
    from notify_streams.stores.mongo import Shards

    async with Shards(settings) as shards:
        return await check_shards(settings, shards)


async def _move(settings: Settings, bucket: int, to: int) -> dict[str, Any]:
    from notify_streams.admin.shards import move_bucket
    from notify_streams.stores.mongo import Shards

    async with Shards(settings) as shards:
        return await move_bucket(settings, shards, bucket, to, print_progress)


def print_findings(findings: Sequence[Finding]) -> None:
    """Print a line for each."""
    from rich.console import Console
    from rich.table import Table

    table = Table("shard", "checked", "found", "what to do", box=None, pad_edge=False)
    for finding in findings:
        table.add_row(str(finding.shard), finding.what, finding.found, finding.remedy or "-")
    text = io.StringIO()
    Console(file=text, width=_LINE_WIDTH, markup=False).print(table)
    write(text.getvalue())
