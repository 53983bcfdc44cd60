"""`notify-streams users export|forget`: all of a person, in every region."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click
import msgspec

from notify_streams.cli.output import as_json, print_result, region_option, run, settings_of
from notify_streams.cli.regions_streamed import print_each_region
from notify_streams.errors import Refused
from notify_streams.records.trigger import Rejection
from notify_streams.records.user_records import MAX_CLOCK_SKEW, Erasure, encode_record, read_erasure
from notify_streams.topics import USER_ERASURES

if TYPE_CHECKING:
    from notify_streams.settings import Settings

_LOOK_S = 0.5


@click.command()
@click.argument("user_id")
@region_option
@as_json
def export(user_id: str, region: str, as_json: bool) -> None:
    """Show everything that is known of a person, from each region. Exit 1 if a region does not answer."""
    from notify_streams.admin.person_export import export_person

    settings = settings_of(region)
    complete = run(print_each_region(settings, user_id, export_person, as_json=as_json), settings)
    raise SystemExit(0 if complete else 1)


@click.command()
@click.argument("user_id")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option(
    "--status",
    is_flag=True,
    help="Erase nothing: show the certificate, as far as it is. Exit 1 unless every region has finished.",
)
@click.option(
    "--wait",
    "wait_s",
    type=click.FloatRange(min=0),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="For this region's first pass.",
)
@region_option
@as_json
def forget(user_id: str, yes: bool, status: bool, wait_s: float, region: str, as_json: bool) -> None:
    """Erase a person in every region. Exit 0 when this region sends them nothing any more.

    A region that is away erases on its return. --status shows the certificate: what was found where, what remains, and until when.
    """
    settings = settings_of(region)
    if not status and not yes:
        question = f"Erase {user_id} in the regions {', '.join(settings.regions)}? It cannot be undone"
        click.confirm(question, abort=True, err=True)
    look = f"`notify-streams users forget {user_id} --status` shows how far it is"
    since = None if status else run(_request(settings, user_id), settings, interrupted=f"it may have begun: {look}")
    report = run(
        _certificate(settings, user_id, since, wait_s), interrupted="" if status else f"the erasure goes on: {look}"
    )
    print_result(as_json, report, lines_of(report))
    raise SystemExit(0 if report["holds"] or (since and _is_stopped(report, region, since)) else 1)


@click.command()
@click.option("--since", type=click.DateTime(), help="Only those that were requested since this time, in UTC.")
@region_option
@as_json
def erased(since: datetime | None, region: str, as_json: bool) -> None:
    """Print the erasure log: a JSON line for each erased person.

    It has a keyed hash in place of the name. Keep it beside the backups.
    """
    from notify_streams.admin.restore import erased_persons

    settings = settings_of(region)
    found = run(erased_persons(settings, since and since.replace(tzinfo=UTC)), settings)
    lines = [msgspec.structs.asdict(one) for one in found]
    print_result(as_json, {"region": region, "erased": lines}, [msgspec.json.encode(one).decode() for one in lines])


async def _request(settings: Settings, user_id: str) -> datetime:
    from notify_streams.admin.certificate import erasure_key
    from notify_streams.admin.topics import require_topics
    from notify_streams.admin.trigger_producer import TriggerProducer

    erasure_key(settings)
    now = datetime.now(UTC)
    value = encode_record(Erasure(user_id, now))
    checked = read_erasure(value, int(now.timestamp() * 1000) + 1)
    if isinstance(checked, Rejection):
        raise Refused(checked.detail)
    await require_topics(settings)
    async with TriggerProducer(settings) as upstream:
        await upstream.send([(USER_ERASURES, user_id, value, ())])
    return now


async def _certificate(settings: Settings, user_id: str, since: datetime | None, wait_s: float) -> dict[str, Any]:
    """The certificate now; of a request made at `since` when this region has made its first pass, or after `wait_s`."""
    from notify_streams.admin.certificate import certificate, read_erasure_document
    from notify_streams.admin.regions_asked import ask_regions

    until = asyncio.get_running_loop().time() + wait_s
    while True:
        documents, away = await ask_regions(
            settings.regions, settings_of, lambda one: read_erasure_document(one, user_id)
        )
        report = certificate(settings, user_id, documents, away)
        over = asyncio.get_running_loop().time() >= until
        if since is None or over or _is_stopped(report, settings.region, since):
            return report
        await asyncio.sleep(_LOOK_S)


def _is_stopped(report: dict[str, Any], region: str, since: datetime) -> bool:
    """Whether the region has made the first pass of the request of `since`, not only that of an earlier one."""
    here = report["regions"][region]
    return here.get("state") in ("first_pass", "finished") and here["requested_at"] >= since - MAX_CLOCK_SKEW


def lines_of(report: dict[str, Any]) -> list[str]:
    """The certificate as text."""
    lines = [f"{report['person']}: " + ("erased" if report["holds"] else "not erased everywhere yet")]
    for region, one in report["regions"].items():
        if "unreachable" in one:
            lines.append(f"  {region}: gives no answer, erases on its return ({one['unreachable']})")
            continue
        found = ", ".join(f"{name} {count}" for name, count in one.get("found", {}).items())
        lines.append(f"  {region}: {one['state']}" + (f"; found: {found}" if found else ""))
    for one in report["remains"]:
        places = ", ".join(one.get("topics") or one.get("collections") or ())
        until = f"until {one['until']:%Y-%m-%d %H:%M} UTC" if one["until"] else "without limit"
        lines.append(f"  remains in {one['where']} {until}: {one['what']}" + (f" ({places})" if places else ""))
    return lines
