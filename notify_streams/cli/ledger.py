"""`notify-streams ledger`: what each role has counted, and its sealed sums."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from notify_streams.cli.output import as_json, print_result, region_option, run, settings_of

if TYPE_CHECKING:
    from notify_streams.settings import Settings


@click.command()
@click.option("--sealed", is_flag=True, help="The sums of the last periods that are over, by role.")
@click.option(
    "--hours", default=24.0, show_default=True, type=click.FloatRange(0, 876_000), help="With --sealed: how far back."
)
@region_option
@as_json
def ledger(sealed: bool, hours: float, region: str, as_json: bool) -> None:
    """Show the counts of each role. Exit 1 if they do not add up. `audit` compares them with everything else."""
    settings = settings_of(region)
    found = run(_sealed(settings, hours) if sealed else _ledger(settings), settings)
    print_result(as_json, {"region": region, **found}, _lines(found))
    raise SystemExit(0 if found["closes"] else 1)


async def _ledger(settings: Settings) -> dict[str, Any]:
    from notify_streams.stores.mongo import Shards
    from notify_streams.web.ledger import read_ledger, sums

    async with Shards(settings) as shards:
        await shards.refresh_directory()
        rows, complete = await read_ledger(shards, settings.outbox.transaction_timeout_s)
    found = sums(rows, complete=complete)
    return {"closes": found.closes, "open_rows": found.open_rows, "roles": found.by_role}


async def _sealed(settings: Settings, hours: float) -> dict[str, Any]:
    from notify_streams.admin.sealed_periods import by_period, overview, sealed_since
    from notify_streams.stores.mongo import Shards

    timeout_s = settings.outbox.transaction_timeout_s
    async with Shards(settings) as shards:
        await shards.refresh_directory()
        whole = await overview(shards, timeout_s)
        rows = by_period(await sealed_since(shards, datetime.now(UTC) - timedelta(hours=hours), timeout_s))
    closes = whole.pop("closes") and all(row["closes"] for row in rows)
    return {"closes": closes, "sealed": whole, "periods": rows}


def _lines(found: dict[str, Any]) -> list[str]:
    lines = [f"{role}: {_counts(counts)}" for role, counts in found.get("roles", {}).items()]
    for row in found.get("periods", ()):
        note = "" if row["closes"] else " does NOT close"
        lines.append(f"until {row['period_end']} {row['role']}{note}: {_counts(row['sums'])}")
    if "sealed" in found:
        whole = found["sealed"]
        between = f" from {whole['first']} to {whole['last']}" if whole["count"] else ": no period is over yet"
        lines.append(f"{whole['count']} sealed sums{between}")
    rows = found.get("open_rows", ())
    return [*lines, "the counts add up" if found["closes"] else " ".join(("the counts do NOT add up:", *rows[:5]))]


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "nothing"
