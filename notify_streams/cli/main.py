"""The program and its verbs."""

from __future__ import annotations

from typing import Final

import click

from notify_streams import __version__
from notify_streams.cli.output import LazyGroup

VERBS: Final = {
    "audit": "notify_streams.cli.audit:audit",
    "bench": "devtools.benchmarks.command:bench",
    "chaos": "devtools.chaos.command:chaos",
    "config": "notify_streams.cli.config:config",
    "demo": "devtools.demo.command:demo",
    "failover": "notify_streams.cli.failover:failover",
    "prefs": "notify_streams.cli.prefs:prefs",
    "run": "devtools.run_region:run_region",
    "send": "notify_streams.cli.send:send",
    "shards": "notify_streams.cli.shards:shards",
    "stack": "devtools.stack.command:stack",
    "topics": "notify_streams.cli.topics:topics",
    "users": "notify_streams.cli.users:users",
    "why": "notify_streams.cli.why:why",
    "worker": "notify_streams.cli.worker:worker",
}


@click.group(cls=LazyGroup, verbs=VERBS)
@click.version_option(__version__)
def main() -> None:
    """A multi-region notification system in which every trigger ends in exactly one accounted outcome."""
