"""`notify-streams bench transport`: figures of the batched transport."""

from __future__ import annotations

import os
from dataclasses import fields
from typing import Any, Final

import click

from devtools.benchmarks.results import conclude, figures_of, report
from devtools.benchmarks.transport.runner import Runner, Sizes
from devtools.benchmarks.transport.targets import TARGETS
from devtools.benchmarks.transport.topics import DEFAULT_PARTITIONS, PARTITIONS_VARIABLE
from notify_streams.cli.output import as_json

DEFAULT: Final = Sizes()
KINDS: Final = ("read", "copy", "recover", "latency", "memory")
PACKAGES: Final = ("faust-streaming", "aiokafka", "confluent-kafka", "lmdb", "rocksdict")
_LEAST: Final = {"latency": 100}


@click.command("transport")
@click.option(
    "--bootstrap", required=True, metavar="HOST:PORT", help="Kafka to measure on; topics are created and deleted."
)
@as_json
@click.option("--rounds", default=DEFAULT.rounds, show_default=True, type=click.IntRange(1))
@click.option("--scale", default=1.0, show_default=True, help="Factor on all sizes.")
@click.option(
    "--partitions", default=DEFAULT_PARTITIONS, show_default=True, type=click.IntRange(1, 1024), help="Of each topic."
)
@click.option("--only", multiple=True, type=click.Choice(KINDS), help="Measure only these.")
def transport(bootstrap: str, as_json: bool, rounds: int, scale: float, partitions: int, only: tuple[str, ...]) -> None:
    """Measure the batched transport beside aiokafka, librdkafka and stock Faust."""
    os.environ[PARTITIONS_VARIABLE] = str(partitions)
    conclude(measure(bootstrap, scaled(scale, rounds), only), as_json)


async def measure(bootstrap: str, sizes: Sizes, only: tuple[str, ...] = ()) -> dict[str, Any]:
    """Run the benchmark on a broker.

    Raises:
        RecordsMissing: a case lost records.
    """
    runs = await Runner(bootstrap, sizes, only).run()
    return report(figures_of(TARGETS, runs), packages=PACKAGES)


def scaled(scale: float, rounds: int) -> Sizes:
    """The default sizes times `scale`."""
    counts = {one.name for one in fields(Sizes)} - {"rounds", "timeout_s"}
    return Sizes(
        **{name: max(int(getattr(DEFAULT, name) * scale), _LEAST.get(name, 1000)) for name in counts}, rounds=rounds
    )
