"""`notify-streams registry init|policy`: the registry's table on AWS."""

from __future__ import annotations

import click
import orjson

from notify_streams.cli.output import as_json, print_result, region_option, run, settings_of, write


@click.group()
def registry() -> None:
    """The DynamoDB table of users, one for all regions."""


@registry.command()
@click.option("--replica", "replicas", multiple=True, help="Another AWS region, such as eu-west-1; once for each.")
@click.option("--timeout", "timeout_s", default=1800.0, show_default=True, type=click.FloatRange(1), help="Seconds.")
@region_option
@as_json
def init(replicas: tuple[str, ...], timeout_s: float, region: str, as_json: bool) -> None:
    """Create the table in the AWS region of the credentials, and its replicas. Safe to run again.

    Each replica gets point-in-time recovery and deletion protection. Run it once, not in each region.
    """
    from notify_streams.admin.registry_table import init_table

    settings = settings_of(region)
    done = run(init_table(settings, replicas, timeout_s), settings)
    lines = [f"table {done['table']} is in {', '.join(done['replicas'])}"]
    lines += [f"{where}: switched on {', '.join(what)}" for where, what in done["protected"].items() if what]
    print_result(as_json, done, lines)


@registry.command()
@region_option
def policy(region: str) -> None:
    """Print the IAM policy of each identity as JSON: the roles that use the table, and who runs `init`."""
    from notify_streams.admin.registry_table import policies

    found = policies(settings_of(region).users_table)
    write(orjson.dumps(found, option=orjson.OPT_INDENT_2) + b"\n")
