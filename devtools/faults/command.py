"""`notify-streams faults`: twelve faults under load, and who names them."""

from __future__ import annotations

from typing import Final

import click

from notify_streams.cli.output import as_json

#: `cases.FAULTS` in their order. Named here, because their modules take long to import.
NAMES: Final = (
    "kafka",
    "shard",
    "redis",
    "dynamodb",
    "provider_503",
    "provider_hangs",
    "credential",
    "poison",
    "agent",
    "worker",
    "link",
    "clock",
)


@click.command()
@click.option("--only", multiple=True, type=click.Choice(NAMES), help="Only these faults; all if not given.")
@click.option("--rate", default=20.0, show_default=True, type=click.FloatRange(min=2), help="Triggers a second.")
@click.option(
    "--write",
    is_flag=True,
    help="Write the figures to docs/measurements/faults.json and their table to docs/operate/faults.md.",
)
@as_json
def faults(only: tuple[str, ...], rate: float, write: bool, as_json: bool) -> None:
    """Inject twelve faults under load, and measure who names them, and when.

    When the page, an alert and `doctor` name each fault, what `why` and the logs say of it, and when it is quiet again after its end.

    Exit 0 only if each is named within 30 s, nothing is wrong a minute after its end, and the audit finds no difference afterwards.
    """
    from devtools.benchmarks.results import conclude
    from devtools.faults import table
    from devtools.faults.run import run

    conclude(run(only, rate, write=write), as_json, table.text_of, "faults")
