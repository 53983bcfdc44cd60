"""`notify-streams chaos`: faults, hostile records, and the invariants."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Final

import click

from devtools.benchmarks.results import conclude
from notify_streams.cli.output import print_progress
from notify_streams.failpoints import WORKER_NAMES, WorkerName

_FUZZ_FAILURES: Final = "fuzz-failures"


@click.command()
@click.option("--seeds", default=3, show_default=True, type=click.IntRange(0), help="Kills at each failpoint; 0: none.")
@click.option(
    "--minutes",
    default=10.0,
    show_default=True,
    type=click.FloatRange(0),
    help="Duration of the random faults; 0: none.",
)
@click.option(
    "--rate", default=200, show_default=True, type=click.IntRange(1), help="Triggers/s during the random faults."
)
@click.option("--seed", default=1, show_default=True, help="Seed of the random faults and of the hostile records.")
@click.option(
    "--fuzz-minutes",
    default=10.0,
    show_default=True,
    type=click.FloatRange(0),
    help="Duration of the hostile records; 0: none.",
)
@click.option(
    "--fuzz-limit",
    "fuzz_limit_s",
    default=5.0,
    show_default=True,
    help="Seconds for each step of the good records behind them.",
)
@click.option(
    "--replay",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Send this batch of hostile records, from an earlier report, and nothing else.",
)
@click.option(
    "--failpoint", "names", multiple=True, type=click.Choice(WORKER_NAMES), help="Only these; all if not given."
)
@click.option(
    "--members", default=3, show_default=True, help="Of each shard's replica set; the election of a primary takes 3."
)
@click.option(
    "--page",
    "with_page",
    is_flag=True,
    help="Keep the region's page open in Chromium during the random faults: no console error, flat memory.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def chaos(
    seeds: int,
    minutes: float,
    rate: int,
    seed: int,
    fuzz_minutes: float,
    fuzz_limit_s: float,
    replay: Path | None,
    names: tuple[WorkerName, ...],
    members: int,
    with_page: bool,
    as_json: bool,
) -> None:
    """Kill workers, primaries and the broker under load; send hostile records.

    Exit 0 only if the audit finds no difference afterwards. Only the hostile records: `--seeds 0 --minutes 0 --members 1`.
    """
    if replay is not None:
        seeds, minutes, fuzz_minutes = 0, 0.0, fuzz_minutes or 1.0
    running = _run(
        seeds, minutes, rate, seed, fuzz_minutes, fuzz_limit_s, replay, names or WORKER_NAMES, members, with_page
    )
    conclude(running, as_json, _line, "invariants")


def _line(invariant: dict[str, Any]) -> str:
    result = "holds" if invariant["holds"] else "DOES NOT HOLD"
    return f"{result}: {invariant['name']} ({invariant['checked']} checked)"


async def _run(
    seeds: int,
    minutes: float,
    rate: int,
    seed: int,
    fuzz_minutes: float,
    fuzz_limit_s: float,
    replay: Path | None,
    names: tuple[WorkerName, ...],
    members: int,
    with_page: bool,
) -> dict[str, Any]:
    from devtools.chaos.environment import REGION, ChaosEnvironment
    from devtools.chaos.failpoint_kills import kill_at_failpoints
    from devtools.chaos.fuzz.run import fuzz
    from devtools.chaos.latency import latency_ms
    from devtools.chaos.open_page import OpenPage, open_page
    from devtools.chaos.random_faults import random_faults
    from devtools.stack import stack_folder
    from notify_streams.admin.audit.provider_log import read_provider_log

    folder = stack_folder()
    async with ChaosEnvironment(folder / "chaos", members, print_progress) as environment:
        kills = await kill_at_failpoints(environment, seeds, names) if seeds or minutes else []
        random_run = page = None
        if minutes and with_page:
            views = await environment.pool.start("views")
            await views.wait_until_ready()
            page = OpenPage()
            opened = open_page(f"{views.url}/", page, print_progress)
            random_run = await random_faults(environment, minutes, seed, rate, opened)
        elif minutes:
            random_run = await random_faults(environment, minutes, seed, rate, nullcontext())
        accepted = read_provider_log(environment.stack.region(REGION).sandbox.provider_log)
        latencies = latency_ms(accepted)
        hostile = None
        if fuzz_minutes:
            hostile = await fuzz(environment, fuzz_minutes, seed, fuzz_limit_s, folder / _FUZZ_FAILURES, replay)
        return report_of(kills, random_run, seed, latencies, hostile, None if page is None else page.result())


def report_of(
    kills: list[dict[str, Any]],
    random_run: dict[str, Any] | None,
    seed: int,
    latencies: dict[str, dict[str, Any]],
    hostile: dict[str, Any] | None = None,
    page: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The JSON output: ``{"holds", "seed", "faults", "invariants", "latency_ms", "duplicates", "failpoints", "random", "fuzz", "page"}``."""
    random_runs = [] if random_run is None else [random_run]
    invariants = [
        _invariant("every failpoint is reached", kills, lambda one: one["reached"]),
        _invariant("no differences in the audit after a kill at any failpoint", kills, lambda one: one["holds"]),
    ]
    if random_runs:
        name = "no differences in the audit after the random faults"
        invariants.append(_invariant(name, random_runs, lambda one: one["holds"]))
    if hostile is not None:
        name = f"no batch of hostile records stops others ({hostile['rounds']} batches, seed {hostile['seed']})"
        invariants.append(_invariant(name, [hostile], lambda one: one["holds"]))
    if page is not None:
        name = "the open page has no console error, and its memory is flat"
        invariants.append(_invariant(name, [page], lambda one: one["holds"]))
    faults = [{"what": f"killed at {one['name']}", "seed": one["seed"]} for one in kills]
    return {
        "holds": all(one["holds"] for one in invariants),
        "seed": seed,
        "faults": faults + [fault for run in random_runs for fault in run["faults"]],
        "invariants": invariants,
        "latency_ms": latencies,
        "duplicates": sum(one["duplicates"] for one in (*kills, *random_runs)),
        "failpoints": kills,
        "random": random_run,
        "fuzz": hostile,
        "page": page,
    }


def _invariant(name: str, results: Sequence[dict[str, Any]], holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    wrong = next((result for result in results if not holds(result)), None)
    return {"name": name, "holds": wrong is None, "checked": len(results), "counter_example": wrong}
