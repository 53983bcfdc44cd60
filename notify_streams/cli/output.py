"""How a verb answers: one JSON object, or lines; and how an error of ours becomes a message and an exit status."""

from __future__ import annotations

import asyncio
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

import click
import orjson

from notify_streams.app import local_overlay
from notify_streams.errors import NotifyError
from notify_streams.preferences.categories import Categories, configured_categories
from notify_streams.settings import Settings, load_settings

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping, Sequence

Result = TypeVar("Result")

as_json = click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
region_option = click.option(
    "--region", envvar="NOTIFY_REGION", default="us", show_default=True, help="Which region's settings."
)


def settings_of(region: str) -> Settings:
    """The settings of a region, those of a running local stack layered over them."""
    return load_settings(region, overlay=local_overlay(region))


def categories_of() -> Categories:
    """The categories of ``config/categories.yaml``."""
    return configured_categories()


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """Run to the end."""
    return asyncio.run(work)


def print_result(as_json: bool, value: dict[str, Any], lines: Sequence[str]) -> None:
    """Print the value or the lines."""
    if as_json:
        sys.stdout.write(orjson.dumps(value, default=str).decode() + "\n")
    else:
        for line in lines:
            click.echo(line)


def print_progress(line: str) -> None:
    """Progress, for people: on stderr."""
    click.echo(line, err=True)


class LazyGroup(click.Group):
    """A group whose verbs are imported when they are asked for, and report our errors as one line and exit with 1.

    A worker that starts beside busy ones pays for every import, and needs none of what the other verbs need.
    """

    def __init__(self, *args: Any, verbs: Mapping[str, str], **kwargs: Any) -> None:
        """`verbs`: name -> ``module:command``."""
        super().__init__(*args, **kwargs)
        self._verbs = verbs

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(self._verbs)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._verbs:
            return None
        module, _, name = self._verbs[cmd_name].partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except NotifyError as error:
            raise click.ClickException(str(error)) from error
