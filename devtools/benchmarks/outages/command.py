"""`notify-streams bench outages`: a provider fails under load, then recovers."""

from __future__ import annotations

import click

from devtools.benchmarks.outages.cases import OUTAGES
from devtools.benchmarks.outages.run import run
from devtools.benchmarks.results import conclude
from devtools.stack import stack_folder
from notify_streams.cli.output import as_json


@click.command("outages")
@click.option("--rate", default=300.0, show_default=True, type=click.FloatRange(min=10), help="Triggers a second.")
@click.option("--seconds", default=120.0, show_default=True, type=click.FloatRange(min=10), help="Of each outage.")
@click.option("--only", multiple=True, type=click.Choice([one.name for one in OUTAGES]), help="Only these outages.")
@as_json
def outages(rate: float, seconds: float, only: tuple[str, ...], as_json: bool) -> None:
    """Measure outages of a provider.

    Calls in vain, the breaker, the recovery, and the critical lane of another provider.
    """
    chosen = [one for one in OUTAGES if not only or one.name in only]
    measuring = run(stack_folder() / "bench-outages", chosen, rate, seconds)
    conclude(measuring, as_json, lambda row: str(row["line"]), "table")
