"""Runs the drill of faults in a region of its own."""

from __future__ import annotations

import asyncio
import os
from functools import partial
from typing import TYPE_CHECKING, Any

from devtools.faults import table
from devtools.faults.cases import BY_NAME, FAULTS
from devtools.faults.measures import Drill
from devtools.faults.prometheus import Prometheus
from devtools.faults.region import FaultRegion
from devtools.faults.witnesses import Commands, Logs, Page
from devtools.stack import Stack, stack_folder
from notify_streams.cli.output import print_progress

if TYPE_CHECKING:
    from collections.abc import Sequence


async def run(only: Sequence[str], rate: float, *, write: bool) -> dict[str, Any]:
    """Inject the named faults, or all if none is named, and return the report.

    `rate`: triggers a second. `write` also stores the report in docs/.

    Raises:
        NotifyError, StackFailed: the drill could not run.
    """
    chosen = [BY_NAME[name] for name in only] or FAULTS
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
    if write:
        await asyncio.to_thread(table.write, report)
    return report
