"""`notify-streams bench`: figures beside their references, measured in the same run."""

from __future__ import annotations

import click

from notify_streams.ops.bench_backlog.command import backlog
from notify_streams.ops.bench_forward.command import forward, light
from notify_streams.ops.bench_latency.command import latency
from notify_streams.ops.bench_router.command import router
from notify_streams.ops.bench_router.steps import steps
from notify_streams.ops.bench_transport.command import transport


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
