"""`notify-streams stack`: start, inspect and stop the local services."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import click

from notify_streams.cli.region_completion import complete_regions

if TYPE_CHECKING:
    from devtools.stack import Stack

_regions = click.option("--regions", metavar="us,eu,asia", shell_complete=complete_regions, help="Comma-separated.")
_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")


@click.group()
def stack() -> None:
    """The local services of each region, as plain processes.

    Kafka, MongoDB, Valkey, DynamoDB, a provider sandbox and nginx.
    """


@stack.command()
@_regions
@click.option(
    "--members", type=click.IntRange(1, 7), help="Members of each shard's replica set: 1 for demos, 3 for fault tests."
)
@click.option(
    "--secure/--no-secure",
    default=None,
    help="TLS, passwords, and for each client the rights of `topics acls` only. Default: as before, else not.",
)
@_json
def up(regions: str | None, members: int | None, secure: bool | None, as_json: bool) -> None:
    """Start the services that do not run, wait until they respond, write the settings file of each region."""
    from devtools.stack import Stack

    names = _split(regions) or ["us"]
    here, started_at = Stack(), time.monotonic()

    def report(line: str) -> None:
        click.echo(f"{time.monotonic() - started_at:6.1f} s  {line}", err=True)

    started = here.up(names, members, report, secure=secure)
    files = {name: str(here.settings_file(name)) for name in names}
    if as_json:
        click.echo(json.dumps({"files": files, "started": started}))
        return
    for name, file in files.items():
        click.echo(f"{name} is up: {file}")


@stack.command()
@_regions
@_json
def status(regions: str | None, as_json: bool) -> None:
    """List the services. Exits with 1 unless all of them respond."""
    from devtools.stack import Stack

    here = Stack()
    found = {name: _state(here, name) for name in _split(regions) or here.regions}
    holds = bool(found) and all(service["answers"] for services in found.values() for service in services.values())
    if as_json:
        click.echo(json.dumps({"holds": holds, "regions": found}))
    else:
        for name, services in found.items():
            for service, facts in services.items():
                state = facts["state"] if facts["answers"] else f"{facts['state']}, does not respond: {facts['log']}"
                click.echo(f"{name}/{service:<12} {facts['address']:<32} {facts['pid'] or '':<8} {state}")
        if not found:
            click.echo(f"nothing is up in {here.folder}")
    raise SystemExit(0 if holds else 1)


@stack.command()
@_regions
@click.option("--wipe", is_flag=True, help="Delete the data, too.")
@_json
def down(regions: str | None, wipe: bool, as_json: bool) -> None:
    """Stop the services that `up` started. External services are left alone."""
    from devtools.stack import Stack

    here = Stack()
    names = _split(regions) or here.regions
    here.down(_split(regions) or None, wipe)
    click.echo(json.dumps({"down": names}) if as_json else f"down: {', '.join(names) or 'nothing was up'}")


@stack.command()
@click.argument("artifacts", nargs=-1)
@click.option("--pin", is_flag=True, help="Write the hashes of all artifacts to jars.yaml.")
def fetch(artifacts: tuple[str, ...], pin: bool) -> None:
    """Download the named artifacts, or those that `up` needs. Starts nothing."""
    from devtools.stack import maven

    if unknown := [name for name in artifacts if name not in maven.ARTIFACTS]:
        raise click.BadParameter(f"there is no {', '.join(unknown)}; there are {', '.join(maven.ARTIFACTS)}")
    maven.pin() if pin else maven.fetch(artifacts or maven.REQUIRED)


def _split(regions: str | None) -> list[str]:
    return [name.strip() for name in (regions or "").split(",") if name.strip()]


def _state(here: Stack, name: str) -> dict[str, dict[str, Any]]:
    from notify_streams.addresses import without_credentials

    return {
        service.name.removeprefix(f"{name}/"): {
            "state": service.state,
            "answers": service.state != "paused" and service.is_healthy(),
            "pid": service.process.pid,
            "address": without_credentials(service.address),
            "log": str(service.process.log),
        }
        for service in here.region(name).services
    }
