"""`notify-streams topics ensure|check`: the region's Kafka topics."""

from __future__ import annotations

import click

from notify_streams.cli.output import as_json, print_result, region_option, run, settings_of


@click.group()
def topics() -> None:
    """The region's Kafka topics, which must exist before a worker starts."""


@topics.command()
@region_option
@as_json
def ensure(region: str, as_json: bool) -> None:
    """Create missing topics."""
    from notify_streams.admin.topics import ensure_topics

    settings = settings_of(region)
    made = run(ensure_topics(settings), settings)
    print_result(as_json, {"created": made}, [f"created {name}" for name in made] or ["no topic was missing"])


@topics.command()
@region_option
@as_json
def check(region: str, as_json: bool) -> None:
    """Check partitions and configuration of every topic. Exit 1 if one is wrong."""
    from notify_streams.admin.topics import check_topics

    settings = settings_of(region)
    wrong = run(check_topics(settings), settings)
    print_result(as_json, {"holds": not wrong, "wrong": wrong}, wrong or ["every topic is correct"])
    raise SystemExit(1 if wrong else 0)
