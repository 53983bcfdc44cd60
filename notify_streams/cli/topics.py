"""`notify-streams topics ensure|check|acls|grow`: the region's Kafka topics."""

from __future__ import annotations

from dataclasses import asdict

import click

from notify_streams.cli.output import as_json, print_progress, print_result, region_option, run, settings_of
from notify_streams.roles import ROLES


@click.group()
def topics() -> None:
    """The region's Kafka topics, which must exist before a worker starts."""


@topics.command()
@region_option
@as_json
def ensure(region: str, as_json: bool) -> None:
    """Create missing topics, and apply changed settings to the others."""
    from notify_streams.admin.topics import apply_topic_settings, ensure_topics

    settings = settings_of(region)
    made = run(ensure_topics(settings), settings)
    changed = run(apply_topic_settings(settings), settings)
    lines = [f"created {name}" for name in made] or ["no topic was missing"]
    print_result(as_json, {"created": made, "changed": changed}, [*lines, *(f"changed {one}" for one in changed)])


@topics.command()
@click.option(
    "--for-start",
    is_flag=True,
    help="Only what keeps a worker from starting is wrong; the rest is printed as warnings.",
)
@click.option("--role", type=click.Choice(ROLES), help="Only the topics that a worker of this role reads and writes.")
@region_option
@as_json
def check(for_start: bool, role: str | None, region: str, as_json: bool) -> None:
    """Check partitions and configuration of every topic. Exit 1 if one is wrong."""
    from notify_streams.admin.topics import check_topics

    settings = settings_of(region)
    found = run(check_topics(settings, role), settings)
    wrong, warnings = found.blocking, found.tolerable
    if not for_start:
        wrong, warnings = (*wrong, *warnings), ()
    lines = wrong or ["every topic is there, with its partitions" if for_start else "every topic is correct"]
    print_result(
        as_json,
        {"holds": not wrong, "wrong": wrong, "warnings": warnings},
        [*lines, *(f"warning: {one}" for one in warnings)],
    )
    raise SystemExit(1 if wrong else 0)


@topics.command()
@click.option("--format", "form", type=click.Choice(["kafka-acls", "strimzi"]), default="kafka-acls", show_default=True)
@click.option("--principal-prefix", "prefix", default="User:notify-", show_default=True)
@click.option("--cluster", default="kafka", show_default=True, help="The name of Strimzi's Kafka resource.")
@region_option
@as_json
def acls(form: str, prefix: str, cluster: str, region: str, as_json: bool) -> None:
    """Print the least rights of every role, upstream system and operator. Connects to nothing."""
    from notify_streams.admin.acl_formats import kafka_acls, strimzi_users
    from notify_streams.admin.topic_acls import principals

    settings = settings_of(region)
    found = principals(settings, prefix)
    lines = [*kafka_acls(found, settings.kafka)] if form == "kafka-acls" else [strimzi_users(found, cluster).rstrip()]
    print_result(as_json, {"principals": [asdict(one) for one in found]}, lines)


@topics.command()
@click.option("--partitions", type=click.IntRange(1, 2**20), required=True, help="A multiple of the present number.")
@region_option
@as_json
def grow(partitions: int, region: str, as_json: bool) -> None:
    """Give the region more partitions, and move what belongs to its people. Stop all workers first.

    Run it again if it was interrupted: it goes on where it was. Then set `partitions` in the settings, and start the workers.
    """
    from notify_streams.admin.growth import grow as grow_region

    settings = settings_of(region)
    left = "once its steps have begun no worker starts until it has ended: run it again with the same number"
    done = run(grow_region(settings, partitions, print_progress), settings, interrupted=left)
    value = {"region": region, **asdict(done), "people": done.people}
    if done.before == partitions:
        print_result(as_json, value, [f"region {region} has {partitions} partitions already"])
        return
    rate = done.people / done.seconds
    lines = [
        f"region {region} has {partitions} partitions: {done.people} people in {done.seconds:.0f} s ({rate:,.0f}/s)",
        f"set `partitions: {partitions}` in its settings, start the workers, then run `notify-streams audit`",
    ]
    print_result(as_json, value, lines)
