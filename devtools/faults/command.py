"""`notify-streams faults`: inject twelve faults under load and measure who names them."""

from __future__ import annotations

import asyncio
import os
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from devtools.benchmarks.results import conclude
from devtools.faults import table
from devtools.faults.cases import BY_NAME, FAULTS
from devtools.faults.measures import Drill
from devtools.faults.prometheus import Prometheus
from devtools.faults.region import FaultRegion
from devtools.faults.witnesses import Commands, Logs, Page
from devtools.stack import Stack, stack_folder
from notify_streams.cli.output import as_json, print_progress

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from devtools.faults.cases import Fault


@click.command()
@click.option("--only", multiple=True, type=click.Choice([*BY_NAME]), help="Only these faults; all if not given.")
@click.option("--rate", default=20.0, show_default=True, type=click.FloatRange(min=2), help="Triggers a second.")
@click.option(
    "--write",
    is_flag=True,
    help="Write the figures to docs/measurements/faults.json and their table to docs/faults.md.",
)
@as_json
def faults(only: tuple[str, ...], rate: float, write: bool, as_json: bool) -> None:
    """Inject twelve faults under load: when the page, an alert and `doctor` name each, what `why` and the logs say, when it is quiet again.

    Exit 0 only if each is named within 30 s, nothing is wrong a minute after its end, and the audit finds no difference afterwards.
    """
    chosen = [BY_NAME[name] for name in only] or FAULTS
    conclude(_run(chosen, rate, table.write if write else None), as_json, table.text_of, "faults")


async def _run(chosen: Sequence[Fault], rate: float, write: Callable[[dict[str, Any]], None] | None) -> dict[str, Any]:
    folder = stack_folder() / "faults"
    linked = any(fault.linked for fault in chosen)
    async with FaultRegion(Stack(folder, environment={}), rate, print_progress, linked=linked) as region:
        async with (
            Prometheus(folder / "prometheus", region.targets) as prometheus,
            Page(region.settings) as page,
            region.load,
        ):
            commands = Commands(region.settings, {**os.environ, **region.environ})
            drill = Drill(region, page, prometheus, commands, partial(Logs, region.logs), print_progress)
            rows = await drill.run(chosen)
        print_progress("audit")
        audited = await region.audit()
    differences = audited["differences"] + audited["in_flight"]
    report = {
        "holds": audited["holds"] and all(row.holds for row in rows),
        "rate_per_s": rate,
        "triggers": region.load.sent,
        "faults": [row.as_json() for row in rows],
        "differences": differences,
    }
    if write is not None:
        await asyncio.to_thread(write, report)
    return report
