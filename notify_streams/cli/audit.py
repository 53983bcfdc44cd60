"""`notify-streams audit`: whether every trigger has exactly one outcome."""

from __future__ import annotations

from typing import Any

import click

from notify_streams.cli.output import as_json, print_progress, print_result, run, settings_of
from notify_streams.cli.region_completion import complete_regions
from notify_streams.errors import Refused


@click.command()
@click.option(
    "--regions",
    "--region",
    "regions",
    envvar="NOTIFY_REGION",
    default="us",
    show_default=True,
    metavar="us,eu,asia",
    shell_complete=complete_regions,
    help="Comma-separated; regions that are audited together are compared with each other.",
)
@click.option(
    "--wait",
    "wait_s",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="Repeat the audit so long until nothing is under way; exit 1 if something still is.",
)
@as_json
def audit(regions: str, wait_s: float | None, as_json: bool) -> None:
    """Compare MongoDB, Kafka and the providers' log, on a live system too. Exit 1 on any difference."""
    settings = [settings_of(region) for region in regions_in(regions)]
    from notify_streams.admin.audit import audit as audit_regions

    report = run(audit_regions(settings, print_progress, wait_s=wait_s), *settings)
    print_result(as_json, report, list(lines_of(report)))
    raise SystemExit(0 if report["holds"] else 1)


def regions_in(text: str) -> list[str]:
    """The regions of a comma-separated list, each once.

    Raises:
        Refused: there is none.
    """
    names = list(dict.fromkeys(name for one in text.split(",") if (name := one.strip())))
    if not names:
        raise Refused("name the regions to audit: --regions us,eu")
    return names


def lines_of(report: dict[str, Any]) -> list[str]:
    """The report as text."""
    lines = []
    for region, numbers in report["regions"].items():
        outcomes = ("notified", "forwarded", "repartitioned", "dead", "duplicate", "waiting")
        sums = " + ".join(f"{numbers[name]} {name}" for name in outcomes)
        lines.append(f"{region}: {numbers['taken']} triggers taken = {sums}")
        lines += [
            f"{region}: {channel} is not compared with the sandbox's log, because its provider is not the sandbox"
            for channel in numbers["not_compared"]
        ]
        sealed = numbers["sealed"]
        if sealed["count"]:
            holds = "hold" if sealed["holds"] else "do NOT hold"
            lines.append(f"{region}: {sealed['count']} sealed sums from {sealed['first']} to {sealed['last']} {holds}")
        lines += [
            f"{region}: {name} is compared from {at} on; what was before is deleted"
            for name, at in numbers["compared_from"].items()
        ]
        lines += [f"{region}: restored {_restored(one)}" for one in numbers["restores"]]
    for kind in ("differences", "in_flight"):
        for one in report[kind]:
            note = "under way" if kind == "in_flight" else "DIFFERENCE"
            example = f", e.g. {one['example']}" if one["example"] else ""
            lines.append(
                f"{note}: {one['check']} ({one['region']}, {one['where']}): {one['found']} instead of {one['expected']}{example}"
            )
    lines += [
        f"{one['check']} ({one['where']}): {one['found']} deliveries, no difference, e.g. {one['example']}"
        for one in report["repeats"]
    ]
    lines.append("the audit holds: 0 differences" if report["holds"] else "the audit does not hold")
    return lines


def _restored(one: dict[str, Any]) -> str:
    lost = [f"{count} {channel} deliveries" for channel, count in one["lost"].items()]
    lost += [f"{count} records left out by {role}" for role, count in one["left_out"].items()]
    backups = ", ".join(at or "an unknown time" for at in one["backups"])
    since = f"; triggers of after the backups ({backups}) were lost with Kafka, their number is not known"
    return f"at {one['at']} with a {one['kafka']} Kafka: lost {', '.join(lost) or 'nothing'}" + (
        since if one["kafka"] == "new" else ""
    )
