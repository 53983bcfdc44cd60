"""The program and its verbs."""

from __future__ import annotations

import click

from notify_streams import __version__
from notify_streams.cli.answers import Program
from notify_streams.cli.audit import audit
from notify_streams.cli.bench import bench
from notify_streams.cli.config import config
from notify_streams.cli.demo import demo
from notify_streams.cli.failover import failover
from notify_streams.cli.prefs import prefs
from notify_streams.cli.run import run_region
from notify_streams.cli.send import send
from notify_streams.cli.shards import shards
from notify_streams.cli.topics import topics
from notify_streams.cli.users import users
from notify_streams.cli.why import why
from notify_streams.cli.worker import worker
from notify_streams.devstack.command import stack
from notify_streams.ops.chaos.command import chaos


@click.group(cls=Program)
@click.version_option(__version__)
def main() -> None:
    """A multi-region notification system in which every trigger ends in exactly one accounted outcome."""


for verb in (
    demo,
    stack,
    run_region,
    worker,
    send,
    audit,
    users,
    prefs,
    why,
    topics,
    shards,
    failover,
    config,
    bench,
    chaos,
):
    main.add_command(verb)
