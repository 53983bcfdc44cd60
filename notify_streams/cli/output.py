"""What verbs share: options, settings of a region, output as JSON or lines."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any, TypeVar

import click
import orjson

from notify_streams.app import local_overlay
from notify_streams.preferences.categories import Categories, configured_categories
from notify_streams.settings import Settings, load_settings

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

Result = TypeVar("Result")

as_json = click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
region_option = click.option(
    "--region", envvar="NOTIFY_REGION", default="us", show_default=True, help="The region whose settings to use."
)


def settings_of(region: str) -> Settings:
    """The settings of a region, overlaid with those of a running local stack."""
    return load_settings(region, overlay=local_overlay(region))


def categories_of() -> Categories:
    """The categories of ``config/categories.yaml``."""
    return configured_categories()


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """The result of a coroutine."""
    return asyncio.run(work)


def print_result(as_json: bool, value: dict[str, Any], lines: Sequence[str]) -> None:
    """Print `value` as JSON, or else `lines`."""
    if as_json:
        sys.stdout.write(orjson.dumps(value, default=str).decode() + "\n")
    else:
        for line in lines:
            click.echo(line)


def print_progress(line: str) -> None:
    """Print a line of progress on stderr."""
    click.echo(line, err=True)
