"""`notify-streams bench forward` and `bench propagation`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NoReturn

import click

from devtools.benchmarks.forwarding import propagation_delay
from devtools.benchmarks.forwarding.environment import LINK, forwarding_environment
from devtools.benchmarks.forwarding.measure import BASELINE, ROLE, in_turn
from devtools.benchmarks.forwarding.round_trips import DISTANCES_MS, ROUND_TRIPS_MS
from devtools.benchmarks.results import Goal, Target, conclude, figures_of, report
from devtools.stack import stack_folder
from notify_streams.cli.output import as_json, print_progress

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping, Sequence


@click.command("forward")
@click.option("--triggers", "count", default=200_000, show_default=True, type=click.IntRange(5_000), help="Waiting.")
@click.option("--singles", default=300, show_default=True, type=click.IntRange(50), help="Sent one by one.")
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1))
@click.option(
    "--round-trip", "round_trips", multiple=True, type=click.IntRange(1), default=DISTANCES_MS, show_default=True
)
@as_json
def forward(count: int, singles: int, rounds: int, round_trips: tuple[int, ...], as_json: bool) -> None:
    """Measure how the forward role forwards over a long link, beside a baseline.

    How many triggers a second, and how long one takes.
    """

    async def measured() -> Mapping[str, Sequence[float]]:
        runs: dict[str, list[float]] = {}
        async with forwarding_environment(stack_folder() / "bench-forward") as environment:
            for round_trip_ms in round_trips:
                runs |= await in_turn(environment, round_trip_ms, rounds, count, singles)
        return runs

    _conclude(measured(), [target for one in round_trips for target in forward_targets(one)], as_json)


@click.command("propagation")
@click.option("--singles", default=50, show_default=True, type=click.IntRange(10), help="Triggers for each figure.")
@as_json
def propagation(singles: int, as_json: bool) -> None:
    """Measure a decision, the hop inside a region, and the hop to each other region beside its propagation delay."""

    async def measured() -> Mapping[str, Sequence[float]]:
        async with forwarding_environment(stack_folder() / "bench-propagation") as environment:
            runs = await propagation_delay.measure(environment, singles)
        return runs | {_one_way(one): [one / 2] for one in DISTANCES_MS}

    _conclude(measured(), PROPAGATION_TARGETS, as_json)


def forward_targets(round_trip_ms: int) -> tuple[Target, ...]:
    """The targets for one link."""
    link = f"{round_trip_ms} ms round trip"
    ours, baseline = (
        {what: f"{round_trip_ms} {what} {who}" for what in ("pace", "median", "p99")} for who in (ROLE, BASELINE)
    )
    at_least, at_most = Goal("at least", 0.8, of_ratio=True), Goal("at most", 1.25, of_ratio=True)
    return (
        Target(f"forwarding, {link}", "triggers/s", ours["pace"], baseline["pace"], at_least),
        Target(f"a region's forwarding, {link}", "triggers/s", ours["pace"], None, Goal("at least", 10_000)),
        Target(f"one trigger, {link}, median", "ms", ours["median"], baseline["median"], at_most),
        Target(f"one trigger, {link}, p99", "ms", ours["p99"], baseline["p99"], at_most),
    )


def _one_way(round_trip_ms: int) -> str:
    return f"half of {round_trip_ms} ms"


_AT_MOST_2000: Final = Goal("at most", 2_000)
PROPAGATION_TARGETS: Final = (
    Target("a decision", "us", "decision", None, _AT_MOST_2000),
    Target("inside a region, trigger to provider, median", "ms", "hop median", None, _AT_MOST_2000),
    Target("inside a region, trigger to provider, p99", "ms", "hop p99", None, _AT_MOST_2000),
    *(
        Target(
            f"{one} and {other}, trigger to the other region, median",
            "ms",
            f"{round_trip_ms} median",
            _one_way(round_trip_ms),
            Goal("at most", 2.5, of_ratio=True),
        )
        for (one, other), round_trip_ms in ROUND_TRIPS_MS.items()
    ),
)


def _conclude(
    measured: Coroutine[Any, Any, Mapping[str, Sequence[float]]], targets: Sequence[Target], as_json: bool
) -> NoReturn:
    print_progress(f"link: {LINK}")

    async def reported() -> dict[str, Any]:
        runs = await measured
        rounds = {name: list(values) for name, values in runs.items()}
        return report(figures_of(targets, runs), machine={"link": LINK}, rounds=rounds)

    conclude(reported(), as_json)
