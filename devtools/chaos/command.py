"""`notify-streams chaos`: the drills, and one object that says what held."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import click

from devtools.benchmarks.results import conclude, say
from devtools.chaos.environment import REGION, ChaosEnvironment
from devtools.chaos.failpoint_drill import failpoint_drill
from devtools.chaos.latency import latency_ms
from devtools.chaos.random_faults import random_faults
from devtools.stack import stack_folder
from notify_streams.admin.audit.provider_log import read_provider_log
from notify_streams.failpoints import NAMES, Name


@click.command()
@click.option("--seeds", default=3, show_default=True, type=click.IntRange(1), help="Kills at each failpoint.")
@click.option(
    "--minutes", default=10.0, show_default=True, type=click.FloatRange(0), help="Length of the storm; 0 leaves it out."
)
@click.option("--seed", default=1, show_default=True, help="Of the storm.")
@click.option(
    "--failpoint", "names", multiple=True, type=click.Choice(get_args(Name)), help="Only these; all if not given."
)
@click.option(
    "--members", default=3, show_default=True, help="Of each shard's replica set; to elect a new primary it takes 3."
)
@click.option("--json", "as_json", is_flag=True, help="One object on stdout.")
def chaos(seeds: int, minutes: float, seed: int, names: tuple[Name, ...], members: int, as_json: bool) -> None:
    """Kill workers, primaries and the broker under load; exit 0 only if every book closes afterwards."""
    folder = stack_folder() / "chaos"
    conclude(_drills(folder, seeds, minutes, seed, names or NAMES, members), as_json, _line, "invariants")


def _line(one: dict[str, Any]) -> str:
    return f"{'holds' if one['holds'] else 'DOES NOT HOLD'}: {one['name']} ({one['checked']} checked)"


async def _drills(
    folder: Path, seeds: int, minutes: float, seed: int, names: tuple[Name, ...], members: int
) -> dict[str, Any]:
    async with ChaosEnvironment(folder, members, say) as ground:
        points = await failpoint_drill(ground, seeds, names)
        stormy = await random_faults(ground, minutes, seed) if minutes else None
        return report_of(
            points, stormy, seed, latency_ms(read_provider_log(ground.stack.region(REGION).sandbox.provider_log))
        )


def report_of(
    points: list[dict[str, Any]], stormy: dict[str, Any] | None, seed: int, latencies: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    """The shape that scripts rely on: ``{"holds", "seed", "faults", "invariants", "latency_ms", "duplicates"}``."""
    invariants = [
        _invariant("every failpoint is reached", points, lambda one: one["reached"]),
        _invariant("after a kill at any failpoint the audit's differences are 0", points, lambda one: one["holds"]),
    ]
    faults = [{"what": f"killed at {one['name']}", "seed": one["seed"]} for one in points]
    duplicates = sum(one["duplicates"] for one in points)
    if stormy is not None:
        invariants.append(
            _invariant("after the storm the audit's differences are 0", [stormy], lambda one: one["holds"])
        )
        faults += stormy["faults"]
        duplicates += stormy["duplicates"]
    holds = all(one["holds"] for one in invariants)
    return {
        "holds": holds,
        "seed": seed,
        "faults": faults,
        "invariants": invariants,
        "latency_ms": latencies,
        "duplicates": duplicates,
        "failpoints": points,
        "storm": stormy,
    }


def _invariant(name: str, cases: list[dict[str, Any]], holds: Any) -> dict[str, Any]:
    wrong = next((one for one in cases if not holds(one)), None)
    return {"name": name, "holds": wrong is None, "checked": len(cases), "counter_example": wrong}
