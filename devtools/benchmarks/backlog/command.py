"""`notify-streams bench backlog`: critical latency beside a full standard backlog."""

from __future__ import annotations

import click

from devtools.benchmarks.backlog.run import run
from devtools.benchmarks.results import conclude
from devtools.stack import stack_folder
from notify_streams.cli.output import as_json


@click.command("backlog")
@click.option(
    "--triggers", "size", default=500_000, show_default=True, type=click.IntRange(2), help="Standard ones that wait."
)
@click.option(
    "--minutes", default=10.0, show_default=True, type=click.FloatRange(min=0, min_open=True), help="Measured."
)
@as_json
def backlog(size: int, minutes: float, as_json: bool) -> None:
    """Measure critical triggers to the provider beside a full standard backlog.

    Meanwhile critical workers are killed and rolled.
    """
    conclude(run(stack_folder() / "bench-backlog", size, minutes), as_json)
