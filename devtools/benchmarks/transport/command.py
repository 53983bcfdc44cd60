"""`notify-streams bench transport`: the figures of the batched transport, or a refusal.

In: a broker's address and sizes. Out: a table, or one JSON object; exit status 0 only if every goal holds.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import click

from devtools.benchmarks.transport.report import report
from devtools.benchmarks.transport.runner import Bench, RecordsMissing, Sizes

DEFAULT = Sizes()
KINDS = ("read", "copy", "recover", "latency", "memory")


async def run(
    bootstrap: str,
    sizes: Sizes | None = None,
    say: Callable[[str], None] = lambda _: None,
    only: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Run the benchmark on a broker.

    Raises:
        RecordsMissing: a contestant lost records.
    """
    runs = await Bench(bootstrap, sizes or Sizes(), say, only).run()
    machine = {"cores": os.cpu_count(), "system": platform.platform(), "python": platform.python_version()}
    names = ("faust-streaming", "aiokafka", "confluent-kafka", "rocksdict")
    return report(runs, machine, {name: version(name) for name in names})


@click.command("transport")
@click.option(
    "--bootstrap", required=True, metavar="HOST:PORT", help="Kafka to measure on; topics are made and deleted."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.option("--rounds", default=DEFAULT.rounds, show_default=True, type=click.IntRange(1))
@click.option("--scale", default=1.0, show_default=True, help="Factor on all sizes.")
@click.option("--only", multiple=True, type=click.Choice(KINDS), help="Measure only these.")
def transport(bootstrap: str, as_json: bool, rounds: int, scale: float, only: tuple[str, ...]) -> None:
    """Measure the batched transport beside bare aiokafka, librdkafka and stock Faust."""
    full = DEFAULT
    sizes = Sizes(
        read=max(int(full.read * scale), 1000),
        read_stock=max(int(full.read_stock * scale), 1000),
        copy=max(int(full.copy * scale), 1000),
        recover=max(int(full.recover * scale), 1000),
        recover_stock=max(int(full.recover_stock * scale), 1000),
        latency=max(int(full.latency * scale), 100),
        memory=max(int(full.memory * scale), 1000),
        rounds=rounds,
    )
    try:
        found = asyncio.run(run(bootstrap, sizes, lambda line: click.echo(line, err=True), only))
    except RecordsMissing as exc:
        raise click.ClickException(str(exc)) from exc
    if as_json:
        click.echo(json.dumps(found))
    else:
        for row in found["figures"]:
            against = f"  ({row['ratio']} x {row['reference']}: {row['reference_value']:,})" if row["reference"] else ""
            click.echo(
                f"{'ok  ' if row['holds'] else 'MISS'} {row['name']}: {row['value']:,} {row['unit']}{against}, goal {row['goal']}"
            )
    raise SystemExit(0 if found["holds"] else 1)
