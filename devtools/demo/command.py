"""`notify-streams demo`: starts regions, sends triggers, shows the audit."""

from __future__ import annotations

import asyncio
import logging
import sys

import click

from notify_streams.cli.output import as_json, print_result, run
from notify_streams.cli.region_completion import complete_regions
from notify_streams.errors import Refused
from notify_streams.roles import CHANNELS


@click.command()
@click.option(
    "--regions",
    default="us",
    show_default=True,
    metavar="us,eu,asia",
    shell_complete=complete_regions,
    help="Comma-separated.",
)
@click.option("--people", default=5_000, show_default=True, type=click.IntRange(1), help="Users who sign up.")
@click.option("--triggers", default=20_000, show_default=True, type=click.IntRange(1))
@click.option("--rate", default=2_000, show_default=True, type=click.IntRange(1), help="Triggers per second.")
@click.option("--seed", default=1, show_default=True, help="Seed of the generated users.")
@click.option(
    "--drill/--no-drill",
    default=None,
    help="Kill the last region under load and start it again. Default: if there are several regions.",
)
@click.option(
    "--away", default=10.0, show_default=True, type=click.FloatRange(0), help="Seconds until it is started again."
)
@click.option("--failover", is_flag=True, help="Meanwhile, let its standby serve its users.")
@click.option(
    "--channels",
    default=",".join(CHANNELS),
    show_default=True,
    help="Channels that users have; other channel workers are not started.",
)
@click.option(
    "--secure/--no-secure",
    default=None,
    help="TLS, passwords, and for each client the rights of `topics acls` only. Default: as before, else not.",
)
@click.option("--exit", "leave", is_flag=True, help="Stop everything at the end. Default without a terminal.")
@as_json
def demo(
    regions: str,
    people: int,
    triggers: int,
    rate: int,
    seed: int,
    drill: bool | None,
    away: float,
    failover: bool,
    channels: str,
    secure: bool | None,
    leave: bool,
    as_json: bool,
) -> None:
    """Start services and workers, sign users up, send triggers, audit every outcome.

    Exit 0 only without a difference.
    """
    from rich.console import Console

    from devtools.demo.report import print_report
    from devtools.demo.run import Demo, DemoPlan

    # Kafka clients log a killed region at every attempt to connect; the demo reports it once.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    on_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    stay = on_terminal and not leave and not as_json
    console = Console(stderr=as_json, width=None if on_terminal else 100)
    names = tuple(regions.split(","))
    outage = len(names) > 1 if drill is None else drill
    if failover and (not outage or len(names) < 3):
        raise Refused("--failover needs --drill and three regions: a majority of regions must confirm it")
    used = tuple(channels.split(","))
    if unknown := [channel for channel in used if channel not in CHANNELS]:
        raise Refused(f"unknown channel {', '.join(unknown)}; known are {', '.join(CHANNELS)}")
    plan = DemoPlan(names, people, triggers, rate, seed, stay, outage, away, failover, used, secure)
    here = Demo(plan, console)
    try:
        result = run(here.run())
    except asyncio.CancelledError:
        if here.is_interrupted:
            raise KeyboardInterrupt from None
        raise
    if as_json:
        print_result(True, result.as_json(), [])
    else:
        if not stay:
            print_report(console, result)
        console.print(", ".join(f"{step} {seconds} s" for step, seconds in result.seconds.items()), highlight=False)
    raise SystemExit(0 if result.holds else 1)
