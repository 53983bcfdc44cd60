"""`notify-streams bench forward` and `bench propagation`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from devtools.benchmarks.forwarding import propagation_delay
from devtools.benchmarks.forwarding.environment import LINK, forwarding_environment
from devtools.benchmarks.forwarding.measure import BASELINE, ROLE, in_turn
from devtools.benchmarks.forwarding.round_trips import DISTANCES_MS, ROUND_TRIPS_MS
from devtools.benchmarks.results import Goal, Target, figures_of, report
from notify_streams.cli.output import print_progress

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


async def forwarding(folder: Path, count: int, singles: int, rounds: int, round_trips: Sequence[int]) -> dict[str, Any]:
    """The report of `bench forward`; `round_trips` in ms."""
    print_progress(f"link: {LINK}")
    runs: dict[str, list[float]] = {}
    async with forwarding_environment(folder) as environment:
        for round_trip_ms in round_trips:
            runs |= await in_turn(environment, round_trip_ms, rounds, count, singles)
    return _reported(runs, [target for one in round_trips for target in forward_targets(one)])


async def propagation_delays(folder: Path, singles: int) -> dict[str, Any]:
    """The report of `bench propagation`."""
    print_progress(f"link: {LINK}")
    async with forwarding_environment(folder) as environment:
        runs = await propagation_delay.measure(environment, singles)
    return _reported(runs | {_one_way(one): [one / 2] for one in DISTANCES_MS}, PROPAGATION_TARGETS)


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


def _reported(runs: Mapping[str, Sequence[float]], targets: Sequence[Target]) -> dict[str, Any]:
    rounds = {name: list(values) for name, values in runs.items()}
    return report(figures_of(targets, runs), machine={"link": LINK}, rounds=rounds)
