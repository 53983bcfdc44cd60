"""The demo's report on the terminal: outcomes, latencies, differences."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rich.console import Console


@dataclass(frozen=True, slots=True)
class DemoRates:
    """Triggers a second, as asked for and as sent at the end; deliveries a second."""

    asked: int
    sent: int
    deliveries: int


@dataclass(slots=True)
class DemoResult:
    """The audit's report and what the provider logs add to it."""

    report: dict[str, Any]
    latency_ms: dict[str, dict[str, float]]
    #: See `delivery_report.count_by_region`.
    sent_by: dict[str, int]
    rates: DemoRates
    #: See `delivery_report.outage_report`; None without an outage.
    outage: dict[str, Any] | None = None
    #: Duration of each step.
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        """The audit found no difference (two sending regions are one), and no wrong region sent a notification."""
        return bool(self.report["holds"]) and not self.sent_by["other"]

    def as_json(self) -> dict[str, Any]:
        found = {"latency_ms": self.latency_ms, "sent_by": self.sent_by, "outage": self.outage}
        found["rates"] = asdict(self.rates)
        return {**self.report, **found, "seconds": self.seconds, "holds": self.holds}


def print_report(console: Console, result: DemoResult) -> None:
    for region, counts in result.report["regions"].items():
        console.print(_outcomes(region, counts))
    console.print(_latencies("Trigger to provider call, ms", "lane", result.latency_ms))
    rates = result.rates
    console.print(f"{rates.deliveries:,} deliveries/s", highlight=False)
    if rates.sent < rates.asked:
        console.print(
            f"This machine does not carry {rates.asked:,} triggers/s with critical notifications on time: "
            f"sent more slowly, at the end {rates.sent:,}/s.",
            highlight=False,
        )
    if outage := result.outage:
        title = f"Users of the other regions during the outage of {outage['region']}, ms"
        console.print(_latencies(title, "sent", outage["others_ms"]))
        if "failover_s" in outage:
            console.print(
                f"failover of {outage['region']}: {outage['failover_s']} s from the command to the first call by "
                f"{outage['standby']}",
                highlight=False,
            )
    if len(result.report["regions"]) > 1:
        names = {"home": "home region", "standby": "standby", "other": "another region", "two": "two regions"}
        counts = ", ".join(f"{names[region]} {count:,}" for region, count in result.sent_by.items())
        console.print(f"notifications sent by: {counts}", highlight=False)
    for one in (*result.report["differences"], *result.report["in_flight"]):
        console.print(f"difference: {one}", highlight=False, style="red")
    for one in result.report["repeats"]:
        console.print(f"{one['check']}: {one['found']} deliveries ({one['where']}), no difference", highlight=False)
    if result.holds:
        console.print("Every trigger has exactly one outcome: 0 differences.", style="green", highlight=False)
    elif result.sent_by["other"]:
        console.print("Some notifications were sent by a wrong region.", style="red")
    else:
        console.print("The audit found differences.", style="red")


def _latencies(title: str, first: str, rows: Mapping[str, Mapping[str, float]]) -> Table:
    table = Table(title=title, title_justify="left")
    for name in (first, "p50", "p99", "max", "deliveries"):
        table.add_column(name, justify="left" if name == first else "right")
    for name, values in rows.items():
        table.add_row(name, *(f"{values[column]:,.0f}" for column in ("p50", "p99", "max", "count")))
    return table


def _outcomes(region: str, counts: Mapping[str, Any]) -> Table:
    table = Table(title=f"Region {region}", title_justify="left")
    table.add_column("what")
    table.add_column("count", justify="right")
    table.add_row("triggers", f"{counts['taken']:,}")
    for name in ("notified", "forwarded", "repartitioned", "duplicate", "dead", "waiting"):
        table.add_row(f"  {'dead letter' if name == 'dead' else name}", f"{counts[name]:,}")
    for reason, count in sorted(counts["dead_reasons"].items()):
        table.add_row(f"    {reason}", f"{count:,}")
    table.add_section()
    for reason, count in sorted(counts["reasons"].items()):
        table.add_row(f"not sent: {reason}", f"{count:,}")
    table.add_section()
    for channel, count in sorted(_sent(counts["deliveries"])):
        table.add_row(f"sent: {channel}", f"{count:,}")
    if counts["accepted"] is not None:
        table.add_row("accepted by providers", f"{counts['accepted']:,}")
    return table


def _sent(deliveries: Mapping[str, Mapping[str, int]]) -> Iterable[tuple[str, int]]:
    for topic, states in deliveries.items():
        yield topic, sum(states.get(state, 0) for state in ("sent", "delivered"))
