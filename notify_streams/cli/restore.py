"""`notify-streams restore check|apply`: a region restored from backups."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from notify_streams.cli.output import (
    as_json,
    categories_of,
    print_progress,
    print_result,
    region_option,
    run,
    settings_of,
)
from notify_streams.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from notify_streams.admin.restore import KafkaChoice, Options

_OPTIONS = (
    click.option(
        "--kafka",
        type=click.Choice(["auto", "kept", "new"]),
        default="auto",
        show_default=True,
        help="Whether this Kafka is that of before. auto: it is if a group of this system has committed offsets in it.",
    ),
    click.option(
        "--since",
        metavar="TIME",
        help="ISO 8601. In a kept Kafka: leave out what was written before, instead of sending it a second time.",
    ),
    click.option(
        "--erased",
        multiple=True,
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="An erasure log, the output of `users erased`; may be repeated.",
    ),
    click.option(
        "--without",
        multiple=True,
        metavar="REGION",
        help="Do not ask this other region, which is away, for erasures and choices; may be repeated.",
    ),
)


def _restore_options(command: Callable[..., None]) -> Callable[..., None]:
    """Gives `command` what these options say, as `options`."""

    @wraps(command)
    def with_options(
        kafka: KafkaChoice, since: str | None, erased: tuple[Path, ...], without: tuple[str, ...], **others: Any
    ) -> None:
        from notify_streams.admin.restore import Options

        command(options=Options(kafka, _time(since), erased, without), **others)

    for option in reversed(_OPTIONS):
        with_options = option(with_options)
    return with_options


@click.group()
def restore() -> None:
    """A region whose databases were restored from backups; docs/backup.md."""


@restore.command()
@_restore_options
@region_option
@as_json
def check(options: Options, region: str, as_json: bool) -> None:
    """Show what `apply` would do. Exit 1 if it would refuse, or a restore has not ended."""
    _show_plan(options, region, as_json)


@restore.command("apply")
@_restore_options
@click.option("--dry-run", is_flag=True, help="As `check`.")
@region_option
@as_json
def apply_restore(options: Options, dry_run: bool, region: str, as_json: bool) -> None:
    """Make a restored region ready for its workers, which must not run. If it ends early, run it again."""
    from notify_streams.admin.restore import apply

    if dry_run:
        _show_plan(options, region, as_json)
    settings = settings_of(region)
    left = "workers that start wait until it has ended: run the same command again; what is done is not done twice"
    done = run(apply(settings, categories_of(), options, print_progress), settings, interrupted=left)
    print_result(as_json, {"region": region} | done, [f"region {region} is restored: its workers may start"])


def _show_plan(options: Options, region: str, as_json: bool) -> NoReturn:
    from notify_streams.admin.restore import plan

    settings = settings_of(region)
    found = run(plan(settings, categories_of(), options), settings)
    holds = not found["findings"] and not found["running"] and not found["under_way"]
    print_result(as_json, {"region": region, "holds": holds} | found, list(_lines(found)))
    raise SystemExit(0 if holds else 1)


def _lines(found: dict[str, Any]) -> list[str]:
    plan = found["plan"]
    lines = [f"Kafka: {plan['kafka']}"]
    lines += [f"shard {shard}: backup of {at or 'unknown time'}" for shard, at in enumerate(plan["backups"])]
    lines.append(
        f"ledgers to reopen: {plan['ledgers']}, outbox rows to publish: {plan['outbox_rows']}, timers: {plan['timers']}"
    )
    lines += [f"{role}: {count} records to read" for role, count in plan["unread"].items()]
    lines += [f"{role}: {count} records to leave out" for role, count in plan["left_out"].items()]
    lines.append(f"persons of the erasure log: {found['erasure_log']}")
    lines += [f"FINDING: {one}" for one in found["findings"]]
    if found["running"]:
        lines.append(f"FINDING: workers run: {', '.join(found['running'])}")
    if found["under_way"]:
        lines.append(f"FINDING: not ended: {found['under_way']}")
    return lines


def _time(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise Refused(f"--since {text!r}: not a time of ISO 8601, such as 2026-11-28T10:00:00Z") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
