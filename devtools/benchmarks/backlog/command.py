"""`notify-streams bench backlog`: how long critical triggers take while everything else is as busy as it can be, and workers end."""

from __future__ import annotations

import click

from devtools.benchmarks.backlog.run import drive
from devtools.benchmarks.results import conclude, line_of, say
from devtools.stack import stack_folder


@click.command("backlog")
@click.option(
    "--triggers", "size", default=500_000, show_default=True, type=click.IntRange(2), help="Standard ones that wait."
)
@click.option(
    "--minutes", default=10.0, show_default=True, type=click.FloatRange(min=0, min_open=True), help="Measured."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def backlog(size: int, minutes: float, as_json: bool) -> None:
    """Measure critical triggers to the provider beside a full standard backlog, while critical workers are killed and rolled."""
    folder = stack_folder() / "bench-backlog"
    conclude(drive(folder, size, minutes, say), as_json, line_of)
