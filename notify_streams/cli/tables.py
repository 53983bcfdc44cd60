"""`notify-streams tables`: rebuilds the topics of tables from durable records."""

from __future__ import annotations

import dataclasses
import sys
from typing import TYPE_CHECKING, Final

import click

from notify_streams.cli.output import as_json, print_progress, print_result, region_option, run, settings_of, write

if TYPE_CHECKING:
    from collections.abc import Sequence

    from notify_streams.admin.table_rebuild import Rebuilt
    from notify_streams.settings import Settings

#: Those of `admin.table_rebuild`, whose import takes a second.
TABLES: Final = ("contacts", "preferences")
_LINE_ROWS: Final = 50_000


@click.group()
def tables() -> None:
    """The tables that workers build from compacted topics."""


@tables.command()
@click.option(
    "--table",
    type=click.Choice([*TABLES, "all"]),
    default="all",
    show_default=True,
    help="Users' contacts, or their choices.",
)
@region_option
@as_json
def rebuild(table: str, region: str, as_json: bool) -> None:
    """Publish the rows of the durable records again that the topics lost, and remove those without a record.

    Safe while workers run. Run it again if it was interrupted: rows that the topic has are not published again.
    """
    settings = settings_of(region)
    names = TABLES if table == "all" else (table,)
    left = "run it again: rows that the topic has are not published again"
    done = run(_rebuild(settings, names), settings, interrupted=left)
    value = {name: dataclasses.asdict(one) for name, one in done.items()}
    print_result(as_json, {"region": region, "tables": value}, [f"{name}: {_said(one)}" for name, one in done.items()])


async def _rebuild(settings: Settings, names: Sequence[str]) -> dict[str, Rebuilt]:
    from notify_streams.admin.table_rebuild import rebuild

    progress = Progress(settings.partitions)
    try:
        return await rebuild(settings, names, progress.show)
    finally:
        progress.end()


class Progress:
    """On a terminal one line that changes, elsewhere a line for so many rows."""

    def __init__(self, buckets: int) -> None:
        self._buckets = buckets
        self._is_terminal = sys.stderr.isatty()
        self._rows = self._shown = 0

    def show(self, name: str, bucket: int, batch: Rebuilt) -> None:
        self._rows += batch.published + batch.unchanged + batch.removed
        line = f"{name}, bucket {bucket + 1} of {self._buckets}: {self._rows} rows read"
        if self._is_terminal:
            write(f"\r\x1b[K{line}", err=True)
        elif self._rows - self._shown >= _LINE_ROWS:
            self._shown = self._rows
            print_progress(line)

    def end(self) -> None:
        if self._is_terminal and self._rows:
            write("\n", err=True)


def _said(done: Rebuilt) -> str:
    return f"{done.published} published, {done.unchanged} unchanged, {done.removed} removed"
