"""The commands of `notify-streams bench`.

Each imports what it measures when it is called: these modules take seconds of CPU to import, and `--help` needs none of them.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Final

import click

from devtools.benchmarks.forwarding.round_trips import DISTANCES_MS
from devtools.benchmarks.outages.cases import OUTAGES
from devtools.benchmarks.results import conclude
from notify_streams.cli.output import as_json, print_result, region_option, run_async, settings_of

#: Of `bench transport`. Named here, because their modules take long to import.
TRANSPORT_ROUNDS: Final = 3
TRANSPORT_PARTITIONS: Final = 4
TRANSPORT_KINDS: Final = ("read", "copy", "recover", "latency", "memory")


def _folder(name: str) -> Path:
    """Of the services and workers of one benchmark."""
    from devtools.stack import stack_folder

    return stack_folder() / name


@click.command("backlog")
@click.option(
    "--triggers", "size", default=500_000, show_default=True, type=click.IntRange(2), help="Standard ones that wait."
)
@click.option(
    "--minutes", default=10.0, show_default=True, type=click.FloatRange(min=0, min_open=True), help="Measured."
)
@click.option(
    "--rate", default=100.0, show_default=True, type=click.FloatRange(1, 1000), help="Critical triggers a second."
)
@as_json
def backlog(size: int, minutes: float, rate: float, as_json: bool) -> None:
    """Measure critical triggers to the provider beside a full standard backlog.

    Meanwhile critical workers are killed and rolled.
    """
    from devtools.benchmarks.backlog.run import run

    conclude(run(_folder("bench-backlog"), size, minutes, rate), as_json)


@click.command("compare")
@click.argument("what", type=click.Choice(["steps", "transport"]), default="steps")
@click.option(
    "--old", required=True, type=click.Path(exists=True, file_okay=False, path_type=Path), help="Older checkout."
)
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1))
@click.option("--records", type=click.IntRange(1_000), help="For each run; default 40,000, for `transport` 1,000,000.")
@click.option("--bootstrap", metavar="HOST:PORT", help="Kafka for `transport`; topics are created and deleted.")
@as_json
def compare(what: str, old: Path, rounds: int, records: int | None, bootstrap: str | None, as_json: bool) -> None:
    """Compare the CPU per record with an older checkout's; exit 1 if any figure is more than 3 % higher.

    `steps`: the steps of `bench steps`. `transport`: the batched read and copy cases of `bench transport`.
    """
    from devtools.benchmarks.compare import compare_steps, compare_transport

    if what == "steps":
        measured = compare_steps(old.absolute(), rounds, records or 40_000)
    elif bootstrap is None:
        raise click.UsageError("`compare transport` needs --bootstrap HOST:PORT")
    else:
        measured = compare_transport(old.absolute(), rounds, records or 1_000_000, bootstrap)
    conclude(measured, as_json)


@click.command("delivery")
@click.option(
    "--triggers",
    "count",
    default=20_000,
    show_default=True,
    type=click.IntRange(500),
    help="One push delivery each, in each measurement.",
)
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1))
@click.option(
    "--old",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Older checkout, whose engine runs beside in each round.",
)
@as_json
def delivery(count: int, rounds: int, old: Path | None, as_json: bool) -> None:
    """Measure push deliveries to a provider over TLS: CPU, deliveries per second, and triggers to final states.

    Exit 1 without any figure if a delivery is missing in the provider's log or its state is not final. Needs nginx.
    """
    from devtools.benchmarks.delivery.measure import measure

    conclude(measure(_folder("bench-delivery"), count, rounds, old and old.absolute()), as_json)


@click.command("edge")
@click.option("--lookups", default=100, show_default=True, type=click.IntRange(1, 500), help="Of each case in a round.")
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1, 6))
@as_json
def edge(lookups: int, rounds: int, as_json: bool) -> None:
    """Measure lookups of home regions at nginx and at the region's own view.

    At nginx in turn those that were pushed there, and those that were not.
    """
    from devtools.benchmarks.edge import measure

    conclude(measure(_folder("bench-edge"), lookups, rounds), as_json)


@click.command("forward")
@click.option("--triggers", "count", default=200_000, show_default=True, type=click.IntRange(5_000), help="Waiting.")
@click.option("--singles", default=300, show_default=True, type=click.IntRange(50), help="Sent one by one.")
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1))
@click.option(
    "--round-trip", "round_trips", multiple=True, type=click.IntRange(1), default=DISTANCES_MS, show_default=True
)
@as_json
def forward(count: int, singles: int, rounds: int, round_trips: tuple[int, ...], as_json: bool) -> None:
    """Measure how the forward role forwards over a long link, beside a baseline.

    How many triggers a second, and how long one takes.
    """
    from devtools.benchmarks.forwarding.reports import forwarding

    conclude(forwarding(_folder("bench-forward"), count, singles, rounds, round_trips), as_json)


@click.command("idle")
@click.option("--seconds", default=30.0, show_default=True, type=click.FloatRange(5), help="Measured, in each round.")
@click.option("--rounds", default=2, show_default=True, type=click.IntRange(1))
@click.option(
    "--old",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Older checkout, whose workers are measured beside in each round.",
)
@as_json
def idle(seconds: float, rounds: int, old: Path | None, as_json: bool) -> None:
    """Measure the CPU of one worker of each role, and of the services behind them, while there is nothing to do."""
    from devtools.benchmarks.idle import measure

    conclude(measure(_folder("bench-idle"), seconds, rounds, old and old.absolute()), as_json)


@click.command("latency")
@click.option("--rate", default=300.0, show_default=True, type=click.FloatRange(min=1), help="Triggers a second.")
@click.option(
    "--seconds", default=20.0, show_default=True, type=click.FloatRange(min=0.1), help="Measured, for each router."
)
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1))
@as_json
def latency(rate: float, seconds: float, rounds: int, as_json: bool) -> None:
    """Measure a router's latency at a steady rate, beside a baseline that does the same work."""
    from devtools.benchmarks.latency.measure import measure

    conclude(measure(_folder("bench-latency"), rate, seconds, rounds), as_json)


@click.command("outages")
@click.option("--rate", default=300.0, show_default=True, type=click.FloatRange(min=10), help="Triggers a second.")
@click.option("--seconds", default=120.0, show_default=True, type=click.FloatRange(min=10), help="Of each outage.")
@click.option("--only", multiple=True, type=click.Choice([one.name for one in OUTAGES]), help="Only these outages.")
@as_json
def outages(rate: float, seconds: float, only: tuple[str, ...], as_json: bool) -> None:
    """Measure outages of a provider.

    Calls in vain, the breaker, the recovery, and the critical lane of another provider.
    """
    from devtools.benchmarks.outages.run import run

    chosen = [one for one in OUTAGES if not only or one.name in only]
    measuring = run(_folder("bench-outages"), chosen, rate, seconds)
    conclude(measuring, as_json, lambda row: str(row["line"]), "table")


@click.command("propagation")
@click.option("--singles", default=50, show_default=True, type=click.IntRange(10), help="Triggers for each figure.")
@as_json
def propagation(singles: int, as_json: bool) -> None:
    """Measure a decision, the hop inside a region, and the hop to each other region beside its propagation delay."""
    from devtools.benchmarks.forwarding.reports import propagation_delays

    conclude(propagation_delays(_folder("bench-propagation"), singles), as_json)


@click.command("rebalance")
@click.option("--workers", default=8, show_default=True, type=click.IntRange(2))
@click.option("--partitions", default=32, show_default=True, type=click.IntRange(2))
@click.option(
    "--rate", default=320.0, show_default=True, type=click.FloatRange(1), help="Triggers a second, over all partitions."
)
@click.option("--rounds", default=2, show_default=True, type=click.IntRange(1))
@click.option("--kill", is_flag=True, help="SIGKILL in place of SIGTERM.")
@as_json
def rebalance(workers: int, partitions: int, rate: float, rounds: int, kill: bool, as_json: bool) -> None:
    """Restart the routers one by one under load: the longest pause of each partition in each restart."""
    from devtools.benchmarks.rebalance import measure

    number = signal.SIGKILL if kill else signal.SIGTERM
    conclude(measure(_folder("bench-rebalance"), workers, partitions, rate, rounds, number), as_json)


@click.command("receipts")
@click.option("--receipts", default=200_000, show_default=True, type=click.IntRange(16))
@click.option("--seed", default=20, show_default=True)
@as_json
def receipts(receipts: int, seed: int, as_json: bool) -> None:
    """Publish receipts four times, in random order, half of them for unknown ids; compare states and books."""
    from devtools.benchmarks.webhooks.on_the_topic import measure

    conclude(measure(_folder("bench-receipts"), receipts, seed), as_json)


@click.command("router")
@click.option(
    "--triggers",
    "count",
    default=300_000,
    show_default=True,
    type=click.IntRange(1_000),
    help="Waiting at the start of each round.",
)
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1))
@click.option("--workers", default=2, show_default=True, type=click.IntRange(1), help="Standard router workers.")
@click.option("--partitions", type=click.IntRange(1, 1024), help="Buckets of the region; default: the local stack's.")
@as_json
def router(count: int, rounds: int, workers: int, partitions: int | None, as_json: bool) -> None:
    """Measure durable notifications per second, beside a baseline that does the same work.

    Everything runs on this machine.
    """
    from devtools.benchmarks.router.measure import measure

    conclude(measure(_folder("bench"), count, rounds, workers, partitions), as_json)


@click.command("steps")
@click.option("--triggers", "count", default=40_000, show_default=True, type=click.IntRange(1_000))
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1))
@click.option("--tables", is_flag=True, help="Compare tables on disk with tables in memory instead.")
@click.option("--people", default=1_000_000, show_default=True, type=click.IntRange(1_000), help="For --tables.")
@as_json
def steps(count: int, rounds: int, tables: bool, people: int, as_json: bool) -> None:
    """Measure where a router worker spends its CPU: microseconds a trigger for each step."""
    from devtools.benchmarks.router.steps import measure, measure_tables

    if tables:
        conclude(measure_tables(count, rounds, people), as_json)
    found, outcomes = run_async(measure(count, rounds))
    result = {"unit": "us of CPU a trigger", "triggers": count, "steps": found, "outcomes": outcomes}
    total = found | {"all steps, for a trigger with 1.5 notifications": sum(found.values())}
    print_result(as_json, result, [f"{spent:7.2f} us  {name}" for name, spent in total.items()])


@click.command("tables")
@click.option("--people", default=1_000_000, show_default=True, type=click.IntRange(10_000))
@click.option(
    "--memory-people", type=click.IntRange(10_000), help="Of them for tables in memory; default: at most 1,000,000."
)
@click.option("--partitions", default=64, show_default=True, type=click.IntRange(1, 1024))
@click.option("--lookups", default=300, show_default=True, type=click.IntRange(1), help="Batches of 1,000 people.")
@click.option(
    "--write",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write the figures there: docs/measurements/tables.json.",
)
@as_json
def tables(
    people: int, memory_people: int | None, partitions: int, lookups: int, write: Path | None, as_json: bool
) -> None:
    """Measure the tables of one worker in memory and on disk: recovery, restart, look-ups, bytes a person.

    Calculates from it what a worker needs for 100M people, at 16 workers a role. Starts a broker of its own.
    """
    from devtools.benchmarks.tables.measure import measure

    in_memory = memory_people or min(people, 1_000_000)
    conclude(measure(_folder("bench-tables"), people, in_memory, partitions, lookups, write), as_json)


@click.command("transport")
@click.option(
    "--bootstrap", required=True, metavar="HOST:PORT", help="Kafka to measure on; topics are created and deleted."
)
@as_json
@click.option("--rounds", default=TRANSPORT_ROUNDS, show_default=True, type=click.IntRange(1))
@click.option("--scale", default=1.0, show_default=True, help="Factor on all sizes.")
@click.option(
    "--partitions", default=TRANSPORT_PARTITIONS, show_default=True, type=click.IntRange(1, 1024), help="Of each topic."
)
@click.option("--only", multiple=True, type=click.Choice(TRANSPORT_KINDS), help="Measure only these.")
def transport(bootstrap: str, as_json: bool, rounds: int, scale: float, partitions: int, only: tuple[str, ...]) -> None:
    """Measure the batched transport beside aiokafka, librdkafka and stock Faust."""
    from devtools.benchmarks.transport.measure import measure, scaled
    from devtools.benchmarks.transport.topics import PARTITIONS_VARIABLE

    os.environ[PARTITIONS_VARIABLE] = str(partitions)
    conclude(measure(bootstrap, scaled(scale, rounds), only), as_json)


@click.command("views")
@click.option(
    "--rate", default=50.0, show_default=True, type=click.FloatRange(min=1), help="Critical triggers a second."
)
@click.option("--seconds", default=20.0, show_default=True, type=click.FloatRange(min=0.1), help="Of each measurement.")
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1))
@as_json
def views(rate: float, seconds: float, rounds: int, as_json: bool) -> None:
    """Measure critical triggers while 30 clients read every view and 400 half requests are held open."""
    from devtools.benchmarks.views.measure import measure

    conclude(measure(_folder("bench-views"), rate, seconds, rounds), as_json)


@click.command("webhooks")
@click.option("--rate", default=500.0, show_default=True, type=click.FloatRange(min=1), help="Webhooks a second.")
@click.option("--triggers", default=300.0, show_default=True, type=click.FloatRange(min=1), help="Triggers a second.")
@click.option("--seconds", default=60.0, show_default=True, type=click.FloatRange(min=1))
@as_json
def webhooks(rate: float, triggers: float, seconds: float, as_json: bool) -> None:
    """Post signed webhooks of two kinds beside triggers, and look for the receipt of each in MongoDB."""
    from devtools.benchmarks.webhooks.over_http import measure

    conclude(measure(_folder("bench-webhooks"), rate, triggers, seconds), as_json)


@click.command("why")
@click.option("--notifications", default=500_000, show_default=True, type=click.IntRange(1_000))
@click.option("--dead", default=1_000_000, show_default=True, type=click.IntRange(1_000), help="Dead letters.")
@click.option("--questions", default=100, show_default=True, type=click.IntRange(10), help="Of each kind.")
@region_option
@as_json
def why(notifications: int, dead: int, questions: int, region: str, as_json: bool) -> None:
    """Measure `why` on a month of notifications and dead letters.

    It fills a database of its own on the region's shards, and asks for some of them.
    """
    from devtools.benchmarks.why import measure

    conclude(measure(settings_of(region), notifications, dead, questions), as_json)
