"""`notify-streams bench`: the group of all benchmarks."""

from __future__ import annotations

from typing import Final

import click

from notify_streams.cli.lazy_group import LazyGroup, Verb

_BENCHES: Final = {
    "backlog": Verb(
        "devtools.benchmarks.commands:backlog",
        "Critical triggers beside a full standard backlog, workers killed.",
    ),
    "compare": Verb("devtools.benchmarks.commands:compare", "CPU per record beside an older checkout."),
    "delivery": Verb(
        "devtools.benchmarks.commands:delivery", "Push deliveries to a provider over TLS, beside bare senders."
    ),
    "edge": Verb(
        "devtools.benchmarks.commands:edge", "The look-up of a home region at the edge, beside the region's view."
    ),
    "forward": Verb("devtools.benchmarks.commands:forward", "Triggers forwarded over a long link."),
    "idle": Verb("devtools.benchmarks.commands:idle", "CPU of workers and services while there is nothing to do."),
    "latency": Verb("devtools.benchmarks.commands:latency", "A router's latency at a steady rate."),
    "outages": Verb("devtools.benchmarks.commands:outages", "Outages of a provider: breaker, recovery, lanes."),
    "propagation": Verb("devtools.benchmarks.commands:propagation", "A decision, and the hop to each other region."),
    "rebalance": Verb("devtools.benchmarks.commands:rebalance", "The longest pause when routers restart one by one."),
    "receipts": Verb("devtools.benchmarks.commands:receipts", "Repeated, reordered and unknown receipts on the topic."),
    "router": Verb("devtools.benchmarks.commands:router", "Durable notifications per second on this machine."),
    "steps": Verb("devtools.benchmarks.commands:steps", "Microseconds of CPU a trigger, for each step of a router."),
    "tables": Verb("devtools.benchmarks.commands:tables", "Tables in memory and on disk: recovery, look-ups, bytes."),
    "transport": Verb(
        "devtools.benchmarks.commands:transport",
        "The batched transport beside aiokafka, librdkafka and Faust.",
    ),
    "views": Verb("devtools.benchmarks.commands:views", "Critical triggers while 30 clients read every view."),
    "webhooks": Verb("devtools.benchmarks.commands:webhooks", "Signed webhooks over HTTP beside triggers."),
    "why": Verb("devtools.benchmarks.commands:why", "The story of one trigger among a month of them."),
}


@click.group(cls=LazyGroup, verbs=_BENCHES)
def bench() -> None:
    """Measure beside a reference in the same run; exit 0 only if every goal is met."""
