"""The demo's last word: a table of what became of every trigger, and the line that says whether the books close."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rich.console import Console

    from devtools.demo.run import DemoResult


def print_report(console: Console, outcome: DemoResult) -> None:
    """Print the tables."""
    for region, numbers in outcome.report["regions"].items():
        console.print(_table(region, numbers))
    console.print(_latencies("Trigger to provider, ms", "lane", outcome.latency_ms))
    if outcome.loss is not None:
        title = f"People of the other regions while {outcome.loss['region']} was lost, ms"
        console.print(_latencies(title, "sent", outcome.loss["others_ms"]))
        if "failover_s" in outcome.loss:
            one = outcome.loss
            console.print(
                f"from the failover's command to the first of {one['region']}'s people told by {one['standby']}: "
                f"{one['failover_s']} s",
                highlight=False,
            )
    if len(outcome.report["regions"]) > 1:
        told = ", ".join(f"{count:,} {who}" for who, count in outcome.places.items())
        console.print(f"told by: {told}", highlight=False)
    for one in (*outcome.report["differences"], *outcome.report["in_flight"]):
        console.print(f"difference: {one}", highlight=False, style="red")
    for one in outcome.report["repeats"]:
        console.print(f"{one['check']}: {one['found']} deliveries ({one['where']}), no difference", highlight=False)
    if outcome.holds:
        console.print(
            "The ledger closes: every trigger has exactly one outcome, 0 differences.", style="green", highlight=False
        )
    else:
        console.print("The ledger does not close.", style="red")


def _latencies(title: str, first: str, rows: Mapping[str, Mapping[str, float]]) -> Table:
    table = Table(title=title, title_justify="left")
    for name in (first, "p50", "p99", "max", "deliveries"):
        table.add_column(name, justify="left" if name == first else "right")
    for name, values in rows.items():
        table.add_row(name, *(f"{values[column]:,.0f}" for column in ("p50", "p99", "max", "count")))
    return table


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
