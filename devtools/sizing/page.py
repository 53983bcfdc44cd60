"""The page `docs/sizing.md`."""

from __future__ import annotations

from dataclasses import asdict
from math import ceil
from typing import TYPE_CHECKING, Any, Final

import yaml

from devtools.sizing.inputs import COMMANDS
from devtools.sizing.plan import GIB, SURGE, memory_people, plan
from devtools.stack.paths import PROJECT
from notify_streams.roles import LANES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from devtools.sizing.inputs import Inputs
    from devtools.sizing.plan import Plan

_BASE: Final = PROJECT / "k8s" / "base"


def page(given: Inputs) -> str:
    """Markdown."""
    found = plan(given)
    return (
        "\n".join(
            (*_head(given), *_workers(given, found), *_stores(given, found), *_money(given, found), *_inputs(given))
        )
        + "\n"
    )


def base_size(role: str) -> tuple[int, str]:
    """Replicas and memory of a role in k8s/base."""
    for name in ("critical", "standard"):
        for document in yaml.safe_load_all((_BASE / f"{name}.yaml").read_text()):
            if document["spec"]["selector"]["matchLabels"]["notify-streams/role"] == role:
                (container,) = document["spec"]["template"]["spec"]["containers"]
                return document["spec"]["replicas"], container["resources"]["limits"]["memory"]
    raise KeyError(role)


def _head(given: Inputs) -> Iterator[str]:
    yield from (
        f"# Sizing: {given.people:,} people, {given.rate:,} triggers/s",
        "",
        f"Written by `python -m devtools.sizing --people {given.people} --rate {given.rate} --write`; do not edit. Without `--write` it prints",
        "the page for other numbers. A calculation, no measurement at this size: from figures of one machine with 2 cores",
        "([below](#from-what)), and from assumptions that you should replace (`devtools/sizing/assumptions.yaml`, `prices.yaml`).",
        "One region serves all people, as after the loss of the others.",
        "",
    )


def _workers(given: Inputs, found: Plan) -> Iterator[str]:
    yield "## Workers"
    yield "`k8s/base` is a start; `k8s/components/size-100m` has the numbers of this page, with `k8s/components/disk-tables`."
    yield ""
    rows = []
    for role in found.roles:
        replicas, memory = base_size(role.name)
        rows.append(
            (
                f"`{role.name}`",
                f"{role.cores:.2f}",
                str(role.workers),
                f"{role.memory / GIB:g} GiB",
                f"{role.disk / GIB:.0f} GiB" if role.disk else "–",
                role.because,
                f"{replicas} × {memory}",
            )
        )
    yield from _table(
        ("role", "cores in a burst", "workers", "memory each", "disk each", "decided by", "`k8s/base`"), rows
    )
    routers, memory = min(base_size(role) for role in LANES)
    assert memory == f"{given.assumed['memory_limit_gib']}Gi"
    limit = given.assumed["memory_limit_gib"] * GIB
    in_memory = memory_people(given, routers, limit)
    recovery = given.measured["disk_tables_recovery_keys_per_s"]
    standard = given.assumed["standard_delivery_share"]
    growth = given.settings.partitions // found.partitions_needed
    yield from (
        "",
        f"- **Tables in memory**: {routers} routers of a role in `k8s/base` hold {in_memory / 1e6:.0f}M people;",
        f"  {given.people / 1e6:.0f}M take {ceil(given.people / memory_people(given, 1, limit))} with {memory} each.",
        "- **Tables on disk**: with the workers above all files of a router fit into its memory; with fewer, some look-ups read from the",
        "  disk. Files grow while partitions move, hence the disks. An empty one is filled from Kafka in",
        f"  {found.recovery_s / 60:.0f} minutes ({recovery:,.0f} rows/s a worker).",
        f"- **Partitions**: {given.settings.partitions}. The largest role needs {found.partitions_needed}, with a quarter more while it rolls;",
        f"  so {growth} times as many workers are possible.",
        f"- **Standard deliveries** run at {standard:.0%} of the burst's rate: a burst of 10 minutes is delivered in {10 / standard:.0f}. What",
        "  providers allow (`providers.calls_per_s`) may be less. Critical ones run at the whole rate.",
        "",
    )


def _stores(given: Inputs, found: Plan) -> Iterator[str]:
    mongodb, kafka = found.mongodb, found.kafka
    retention = given.settings.retention
    yield "## Databases and network"
    yield from _table(
        ("service", "cores in a burst", "nodes", "disk each", "decided by"),
        [
            ("MongoDB", f"{mongodb.cores:.1f}", f"{mongodb.units} shards × 3", _tb(mongodb.disk), mongodb.because),
            ("Kafka", f"{kafka.cores:.1f}", f"{kafka.units} brokers", _tb(kafka.disk), kafka.because),
            ("Redis", "–", "2", "–", "one may be lost; deltas live for 5 minutes"),
        ],
    )
    yield from (
        "",
        f"Disks at the mean of {found.mean_triggers:,.0f} triggers/s ({found.mean_triggers * 86400 / given.people:.1f} a person and day):",
        f"notifications and attempts for {retention.notifications.days} days, topics for {retention.topics.days} days and a segment,",
        f"{given.assumed['kafka_replication']} copies, {given.assumed['disk_utilisation']:.0%} full, nothing compressed. The time for which "
        "notifications are kept",
        "(`retention.notifications_h`) decides MongoDB's disks, and with them most of the money.",
        "",
    )
    yield from _table(
        ("network in a burst", "MB/s"), [(name, f"{rate / 1e6:.0f}") for name, rate in found.network.items()]
    )
    yield ""


def _money(given: Inputs, found: Plan) -> Iterator[str]:
    yield "## Money"
    yield f"US dollars a month, {given.prices['source']}, {given.prices['date']}: **examples to replace**. Without providers (SMS cost more"
    yield "than all of this), backups, logs and discounts."
    yield ""
    rows = [(name, f"{amount:,.0f}") for name, amount in found.money.items()]
    yield from _table(("what", "a month"), [*rows, ("**together**", f"**{sum(found.money.values()):,.0f}**")])
    yield ""


def _inputs(given: Inputs) -> Iterator[str]:
    yield "## From what"
    yield "Measured (`docs/measurements/`):"
    yield ""
    yield from _table(("file", "command"), [(f"`{file}`", command) for file, command in COMMANDS.items()])
    yield ""
    yield from _table(("figure", "value"), [(f"`{name}`", f"{value:,}") for name, value in given.measured.items()])
    yield from (
        "",
        "Not measured, so a bound is used: MongoDB's and Kafka's CPU for a notification (those of a settled delivery, which writes more); a",
        "follower's CPU in Kafka (as much as the leader's); the CPU of SMS workers (that of push), of `forward` and `receipts` (that of a",
        "delivery). A core of yours is taken as equal to one of the machine that measured. Routers take the factor of 256 partitions for",
        "two workers, whose flushes are smaller than with more workers.",
        "",
        "Bytes, by the code's own encoders:",
        "",
    )
    yield from _table(("record", "bytes"), [(name, str(length)) for name, length in asdict(given.lengths).items()])
    yield from ("", "Assumed:", "")
    yield from _table(("assumption", "value"), [(f"`{name}`", _shown(value)) for name, value in given.assumed.items()])
    yield from ("", "Prices:", "")
    yield from _table(("price", "value"), [(f"`{name}`", _shown(value)) for name, value in given.prices.items()])
    yield from ("", f"A rollout takes {SURGE:.0%} of a role's workers more.")


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    for row in (head, ("---",) * len(head), *rows):
        yield f"| {' | '.join(row)} |"


def _shown(value: Any) -> str:
    return ", ".join(f"{name} {inner}" for name, inner in value.items()) if isinstance(value, dict) else str(value)


def _tb(size: float) -> str:
    return f"{size / 1e12:.1f} TB"
