"""The program and its verbs."""

from __future__ import annotations

from typing import Final

import click

from notify_streams import __version__
from notify_streams.cli.answers import Program

VERBS: Final = {
    "audit": "notify_streams.cli.audit:audit",
    "bench": "notify_streams.cli.bench:bench",
    "chaos": "notify_streams.ops.chaos.command:chaos",
    "config": "notify_streams.cli.config:config",
    "demo": "notify_streams.cli.demo:demo",
    "failover": "notify_streams.cli.failover:failover",
    "prefs": "notify_streams.cli.prefs:prefs",
    "run": "notify_streams.cli.run:run_region",
    "send": "notify_streams.cli.send:send",
    "shards": "notify_streams.cli.shards:shards",
    "stack": "notify_streams.devstack.command:stack",
    "topics": "notify_streams.cli.topics:topics",
    "users": "notify_streams.cli.users:users",
    "why": "notify_streams.cli.why:why",
    "worker": "notify_streams.cli.worker:worker",
}


@click.group(cls=Program, verbs=VERBS)
@click.version_option(__version__)
def main() -> None:
    """A multi-region notification system in which every trigger ends in exactly one accounted outcome."""
