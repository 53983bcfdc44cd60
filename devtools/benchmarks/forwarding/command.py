"""`notify-streams bench forward`: the forward role and a bare loop over the same long link, in turn.

`notify-streams bench light`: what one trigger takes here and between regions. Both end with 0 only if every goal holds.
"""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click

from devtools.benchmarks.forwarding.environment import LINK, forwarding_environment
from devtools.benchmarks.forwarding.measure import BARE, ROLE, in_turn
from devtools.benchmarks.forwarding.propagation_delay import measured as measured_light
from devtools.benchmarks.forwarding.round_trips import DISTANCES_MS, ROUND_TRIPS_MS
from devtools.benchmarks.results import conclude, say
from devtools.benchmarks.transport.report import Goal, report
from devtools.benchmarks.transport.runner import RecordsMissing
from devtools.stack import stack_folder
from notify_streams.errors import NotifyError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence


@click.command("forward")
@click.option("--triggers", "count", default=200_000, show_default=True, type=click.IntRange(5_000), help="Waiting.")
@click.option("--singles", default=300, show_default=True, type=click.IntRange(50), help="Sent one by one.")
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1))
@click.option(
    "--round-trip", "round_trips", multiple=True, type=click.IntRange(1), default=DISTANCES_MS, show_default=True
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def forward(count: int, singles: int, rounds: int, round_trips: tuple[int, ...], as_json: bool) -> None:
    """Measure how many triggers the forward role carries over a long link, and how long one takes, beside a bare loop."""

    async def measured() -> Mapping[str, Sequence[float]]:
        runs: dict[str, list[float]] = {}
        async with forwarding_environment(stack_folder() / "bench-forward") as place:
            for round_trip_ms in round_trips:
                runs |= await in_turn(place, round_trip_ms, rounds, count, singles, say)
        return runs

    answer(measured, [goal for one in round_trips for goal in goals(one)], as_json)


@click.command("light")
@click.option("--singles", default=50, show_default=True, type=click.IntRange(10), help="Triggers for each figure.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def light(singles: int, as_json: bool) -> None:
    """Measure a decision, the hop inside a region, and the way from each region to each other one, beside what light allows."""

    async def measured() -> Mapping[str, Sequence[float]]:
        async with forwarding_environment(stack_folder() / "bench-light") as place:
            runs = await measured_light(place, singles, say)
        return runs | {_light(one): [one / 2] for one in DISTANCES_MS}

    answer(measured, LIGHT_GOALS, as_json)


def goals(round_trip_ms: int) -> tuple[Goal, ...]:
    """What one link must show."""
    link = f"{round_trip_ms} ms round trip"
    ours, bare = ({what: f"{round_trip_ms} {what} {who}" for what in ("pace", "median", "p99")} for who in (ROLE, BARE))
    return (
        Goal(f"forwarding, {link}", "triggers/s", ours["pace"], bare["pace"], 0.8, "at least"),
        Goal(f"a region's forwarding, {link}", "triggers/s", ours["pace"], None, 10_000, "at least"),
        Goal(f"one trigger, {link}, median", "ms", ours["median"], bare["median"], 1.25, "at most"),
        Goal(f"one trigger, {link}, p99", "ms", ours["p99"], bare["p99"], 1.25, "at most"),
    )


def _light(round_trip_ms: int) -> str:
    return f"half of {round_trip_ms} ms"


LIGHT_GOALS: Final = (
    Goal("a decision", "us", "decision", None, 2_000, "at most"),
    Goal("inside a region, trigger to provider, median", "ms", "hop median", None, 2_000, "at most"),
    Goal("inside a region, trigger to provider, p99", "ms", "hop p99", None, 2_000, "at most"),
    *(
        Goal(
            f"{one} and {other}, trigger to the other region, median",
            "ms",
            f"{far} median",
            _light(far),
            2.5,
            "at most",
        )
        for (one, other), far in ROUND_TRIPS_MS.items()
    ),
)


def answer(
    measured: Callable[[], Coroutine[Any, Any, Mapping[str, Sequence[float]]]], wanted: Sequence[Goal], as_json: bool
) -> NoReturn:
    """Measure, print, and end with the exit status that says whether every goal holds."""
    say(f"link: {LINK}")

    async def reported() -> dict[str, Any]:
        try:
            runs = await measured()
        except RecordsMissing as failure:
            raise NotifyError(str(failure)) from failure
        names = ("faust-streaming", "aiokafka", "pymongo", "msgspec")
        machine = {"cores": os.cpu_count(), "python": platform.python_version(), "link": LINK}
        found = report(runs, machine, {name: version(name) for name in names}, wanted)
        return found | {"rounds": {name: list(values) for name, values in runs.items()}}

    conclude(reported(), as_json, _line)


def _line(row: dict[str, Any]) -> str:
    verdict = "holds" if row["holds"] else "misses"
    against = f" ({row['ratio']} x {row['reference']}: {row['reference_value']:,})" if row["reference"] else ""
    return f"{verdict}: {row['name']}: {row['value']:,} {row['unit']}{against}; goal {row['goal']}"
