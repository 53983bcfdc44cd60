"""`notify-streams stack up|status|down`. Data on stdout, progress on stderr; the exit status is 0 only where all of it runs."""

import json
import time
from typing import Any

import click

from devtools.stack import maven
from devtools.stack.errors import StackFailed
from devtools.stack.stack import Stack

_regions = click.option("--regions", metavar="us,eu,asia", help="Comma-separated.")
_json = click.option("--json", "as_json", is_flag=True, help="One object on stdout.")


@click.group()
def stack() -> None:
    """The local stack: Kafka, MongoDB, Valkey, DynamoDB and provider sandbox of each region, as real processes."""


@stack.command()
@_regions
@click.option(
    "--members", type=click.IntRange(1, 7), help="Of each shard's replica set: 1 for demos, 3 for fault drills."
)
@_json
def up(regions: str | None, members: int | None, as_json: bool) -> None:
    """Start what is not running, wait until it answers, write each region's settings file."""
    names = _split(regions) or ["us"]
    here, began = Stack(), time.monotonic()

    def say(line: str) -> None:
        click.echo(f"{time.monotonic() - began:6.1f} s  {line}", err=True)

    try:
        started = here.up(names, members, say)
    except StackFailed as failure:
        raise click.ClickException(str(failure)) from None
    files = {name: str(here.settings_file(name)) for name in names}
    if as_json:
        settings = {name: here.settings(name) for name in names}
        click.echo(json.dumps({"regions": settings, "files": files, "started": started}))
        return
    for name, file in files.items():
        click.echo(f"{name} is up: {file}")


@stack.command()
@_regions
@_json
def status(regions: str | None, as_json: bool) -> None:
    """What runs; exits 1 unless everything that should run answers."""
    here = Stack()
    try:
        found = {name: _state(here, name) for name in _split(regions) or here.regions}
    except StackFailed as failure:
        raise click.ClickException(str(failure)) from None
    holds = bool(found) and all(service["answers"] for services in found.values() for service in services.values())
    if as_json:
        click.echo(json.dumps({"holds": holds, "regions": found}))
    else:
        for name, services in found.items():
            for service, facts in services.items():
                state = facts["state"] if facts["answers"] else f"{facts['state']}, does not answer: {facts['log']}"
                click.echo(f"{name}/{service:<12} {facts['address']:<32} {facts['pid'] or '':<8} {state}")
        if not found:
            click.echo(f"nothing is up in {here.folder}")
    raise SystemExit(0 if holds else 1)


@stack.command()
@_regions
@click.option("--wipe", is_flag=True, help="Delete the data, too.")
@_json
def down(regions: str | None, wipe: bool, as_json: bool) -> None:
    """End the stack's own processes; what somebody else runs is left alone."""
    here = Stack()
    names = _split(regions) or here.regions
    try:
        here.down(_split(regions) or None, wipe)
    except StackFailed as failure:
        raise click.ClickException(str(failure)) from None
    click.echo(json.dumps({"down": names}) if as_json else f"down: {', '.join(names) or 'nothing was up'}")


@stack.command()
@click.argument("artifacts", nargs=-1, type=click.Choice(tuple(maven.ARTIFACTS)))
@click.option("--pin", is_flag=True, help="Write the hashes of all artifacts anew.")
def fetch(artifacts: tuple[str, ...], pin: bool) -> None:
    """Download what a start needs (or the named artifacts) and start nothing."""
    try:
        maven.pin() if pin else maven.fetch(artifacts or maven.FOR_A_STACK)
    except StackFailed as failure:
        raise click.ClickException(str(failure)) from None


def _split(regions: str | None) -> list[str]:
    return [name.strip() for name in (regions or "").split(",") if name.strip()]


def _state(here: Stack, name: str) -> dict[str, dict[str, Any]]:
    region = here.region(name)
    return {
        service.name.removeprefix(f"{name}/"): {
            "state": service.state,
            "answers": service.state != "paused" and service.answers(),
            "pid": service.process.pid,
            "address": service.address,
            "log": str(service.process.log),
        }
        for service in region.services
    }
