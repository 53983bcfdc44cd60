"""`notify-streams demo`: the whole mission, from nothing to closed books."""

from __future__ import annotations

import logging
import sys

import click
from rich.console import Console

from devtools.demo.report import print_report
from devtools.demo.run import Demo, DemoPlan, DemoResult
from devtools.stack import StackFailed
from notify_streams.cli.output import as_json, print_result, run
from notify_streams.errors import Refused
from notify_streams.roles import CHANNELS


@click.command()
@click.option("--regions", default="us", show_default=True, metavar="us,eu,asia", help="Comma-separated.")
@click.option("--people", default=5_000, show_default=True, type=click.IntRange(1))
@click.option("--triggers", default=20_000, show_default=True, type=click.IntRange(1))
@click.option("--rate", default=2_000, show_default=True, type=click.IntRange(1), help="Triggers per second.")
@click.option("--seed", default=1, show_default=True)
@click.option(
    "--drill/--no-drill",
    default=None,
    help="Kill a region while triggers go on, and bring it back; done by default where there are several.",
)
@click.option("--away", default=10.0, show_default=True, type=click.FloatRange(0), help="Seconds that it stays away.")
@click.option("--failover", is_flag=True, help="Meanwhile its standby serves its people, by command.")
@click.option(
    "--channels",
    default=",".join(CHANNELS),
    show_default=True,
    help="How people can be told; workers run for no others.",
)
@click.option("--exit", "leave", is_flag=True, help="Stop everything at the end on a terminal, too.")
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
    leave: bool,
    as_json: bool,
) -> None:
    """Start services and workers, sign people up, send triggers, show what became of each. Exit 0 only if the ledger closes."""
    # Kafka's clients tell again and again that a region is away which we killed; what it means is told once, by us.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    on_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    stay = on_terminal and not leave and not as_json
    console = Console(stderr=as_json, width=None if on_terminal else 100)
    names = tuple(regions.split(","))
    lose = len(names) > 1 if drill is None else drill
    if failover and (not lose or len(names) < 3):
        raise Refused(
            "--failover is for the drill with three regions or more: a change of who serves takes a majority of them"
        )
    used = tuple(channels.split(","))
    if unknown := [channel for channel in used if channel not in CHANNELS]:
        raise Refused(f"there is no channel {', '.join(unknown)}; there are {', '.join(CHANNELS)}")
    plan = DemoPlan(names, people, triggers, rate, seed, stay, lose, away, failover, used)
    try:
        outcome = run(_run(plan, console))
    except StackFailed as error:
        raise click.ClickException(str(error)) from None
    if as_json:
        found = {"latency_ms": outcome.latency_ms, "told_by": outcome.places, "loss": outcome.loss}
        print_result(True, {**outcome.report, **found, "seconds": outcome.seconds, "holds": outcome.holds}, [])
    elif not stay:
        print_report(console, outcome)
    if not as_json:
        console.print(", ".join(f"{name} {seconds} s" for name, seconds in outcome.seconds.items()), highlight=False)
    raise SystemExit(0 if outcome.holds else 1)


async def _run(plan: DemoPlan, console: Console) -> DemoResult:
    return await Demo(plan, console).run()
