"""`notify-streams bench`: figures beside their references, measured in the same run."""

from __future__ import annotations

import click

from devtools.benchmarks.backlog.command import backlog
from devtools.benchmarks.forwarding.command import forward, light
from devtools.benchmarks.latency.command import latency
from devtools.benchmarks.router.command import router
from devtools.benchmarks.router.steps import steps
from devtools.benchmarks.transport.command import transport


@click.group()
def bench() -> None:
    """Measure, beside a reference in the same run; exit 0 only if every goal is met."""


bench.add_command(transport)
bench.add_command(router)
bench.add_command(steps)
bench.add_command(latency)
bench.add_command(backlog)
bench.add_command(forward)
bench.add_command(light)
