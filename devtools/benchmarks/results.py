"""How a benchmark or a drill that starts a stack of its own ends: its report printed, and its verdict as the exit status."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, NoReturn

import click
import orjson

from devtools.stack import StackFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine


def say(line: str) -> None:
    """A line of progress: stdout is the report's."""
    click.echo(line, err=True)


def line_of(figure: dict[str, Any]) -> str:
    """A figure beside its reference and its goal, where it has them."""
    verdict = "      " if figure["goal"] is None else "holds:" if figure["holds"] else "misses:"
    beside = "" if figure["reference"] is None else f" ({figure['reference']}: {figure['reference_value']:g})"
    goal = "" if figure["goal"] is None else f"; goal {figure['goal']}"
    return f"{verdict} {figure['name']} {figure['value']:g} {figure['unit']}{beside}{goal}"


def conclude(
    measuring: Coroutine[Any, Any, dict[str, Any]],
    as_json: bool,
    line: Callable[[dict[str, Any]], str],
    rows: str = "figures",
) -> NoReturn:
    """Measure, print one JSON object or a `line` for each of the report's `rows`, and exit 0 only if everything holds.

    Raises:
        ClickException: the stack does not come up.
    """
    # A broker that is just started, or stopped on purpose: its clients try again by themselves, and what fails for good is raised.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    try:
        report = asyncio.run(measuring)
    except StackFailed as failure:
        raise click.ClickException(str(failure)) from None
    if as_json:
        click.echo(orjson.dumps(report).decode())
    else:
        for one in report[rows]:
            click.echo(line(one))
    raise SystemExit(0 if report["holds"] else 1)
