"""The demo's last word: a table of what became of every trigger, and the line that says whether the books close."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from notify_streams.devstack.sandbox.record import read_record
from notify_streams.records.identity import trigger_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from rich.console import Console

    from notify_streams.ops.demo.drive import Outcome
    from notify_streams.settings import Settings


def latencies_ms(regions: Sequence[Settings], sent_at: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """From the moment a trigger was handed to Kafka to the moment its provider call began, by lane: p50, p99, max, count."""
    found: dict[str, list[float]] = {"critical": [], "standard": []}
    for settings in regions:
        if settings.sandbox_record is None:
            continue
        for line in read_record(Path(settings.sandbox_record)):
            began = sent_at.get(trigger_of(line.notification_id))
            if began is not None:
                found["critical" if line.critical else "standard"].append(1000 * (line.at - began))
    return {lane: _quantiles(sorted(values)) for lane, values in found.items() if values}


def _quantiles(ordered: Sequence[float]) -> dict[str, float]:
    def at(share: float) -> float:
        return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 1)

    return {"p50": at(0.5), "p99": at(0.99), "max": round(ordered[-1], 1), "count": len(ordered)}


def show(console: Console, outcome: Outcome) -> None:
    """Print the tables."""
    for region, numbers in outcome.report["regions"].items():
        console.print(_table(region, numbers))
    latency = Table(title="Trigger to provider, ms", title_justify="left")
    for name in ("lane", "p50", "p99", "max", "deliveries"):
        latency.add_column(name, justify="left" if name == "lane" else "right")
    for lane, values in outcome.latency_ms.items():
        latency.add_row(lane, *(f"{values[name]:,.0f}" for name in ("p50", "p99", "max", "count")))
    console.print(latency)
    for one in (*outcome.report["differences"], *outcome.report["in_flight"]):
        console.print(f"difference: {one}", highlight=False, style="red")
    if outcome.report["holds"]:
        console.print(
            "The ledger closes: every trigger has exactly one outcome, 0 differences.", style="green", highlight=False
        )
    else:
        console.print("The ledger does not close.", style="red")


def _table(region: str, numbers: Mapping[str, Any]) -> Table:
    table = Table(title=f"Region {region}", title_justify="left")
    table.add_column("what")
    table.add_column("count", justify="right")
    table.add_row("triggers taken", f"{numbers['taken']:,}")
    for name in ("notified", "forwarded", "repartitioned", "duplicate", "dead"):
        table.add_row(f"  {name}", f"{numbers[name]:,}")
    for reason, count in sorted(numbers["dead_reasons"].items()):
        table.add_row(f"    dead: {reason}", f"{count:,}")
    table.add_section()
    for reason, count in sorted(numbers["reasons"].items()):
        table.add_row(f"suppressed: {reason}", f"{count:,}")
    table.add_section()
    for channel, count in sorted(_sent(numbers["deliveries"])):
        table.add_row(f"sent: {channel}", f"{count:,}")
    if numbers["accepted"] is not None:
        table.add_row("accepted by providers", f"{numbers['accepted']:,}")
    return table


def _sent(deliveries: Mapping[str, Mapping[str, int]]) -> Iterable[tuple[str, int]]:
    for topic, states in deliveries.items():
        yield topic, sum(states.get(state, 0) for state in ("sent", "delivered"))
