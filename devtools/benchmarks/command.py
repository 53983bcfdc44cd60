"""`notify-streams bench`: the group of all benchmarks."""

from __future__ import annotations

import click

from devtools.benchmarks.backlog.command import backlog
from devtools.benchmarks.compare import compare
from devtools.benchmarks.delivery.command import delivery
from devtools.benchmarks.forwarding.command import forward, propagation
from devtools.benchmarks.idle import idle
from devtools.benchmarks.latency.command import latency
from devtools.benchmarks.outages.command import outages
from devtools.benchmarks.rebalance import rebalance
from devtools.benchmarks.router.command import router
from devtools.benchmarks.router.steps import steps
from devtools.benchmarks.tables.command import tables
from devtools.benchmarks.transport.command import transport
from devtools.benchmarks.views.command import views
from devtools.benchmarks.webhooks.on_the_topic import receipts
from devtools.benchmarks.webhooks.over_http import webhooks


@click.group()
def bench() -> None:
    """Measure beside a reference in the same run; exit 0 only if every goal is met."""


for command in (
    transport,
    router,
    steps,
    latency,
    backlog,
    rebalance,
    delivery,
    outages,
    forward,
    propagation,
    idle,
    views,
    webhooks,
    receipts,
    tables,
    compare,
):
    bench.add_command(command)
