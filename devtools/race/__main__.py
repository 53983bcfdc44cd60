"""``python -m devtools.race``: many seeds on a region's stores, or real workers."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import msgspec

from devtools.chaos.environment import ChaosEnvironment
from devtools.race.engine_race import CONDITIONS, run_engine_race
from devtools.race.faults import FAULTS
from devtools.race.pipeline import run_pipeline_race
from devtools.race.runner import RaceResult, run_race, schedules_of
from devtools.stack import stack_folder
from notify_streams.cli.output import print_progress, run_async
from notify_streams.preferences.categories import configured_categories
from notify_streams.settings import Settings, load_settings


def main() -> int:
    """Returns the exit status: 0 only if no invariant was violated under any fault."""
    parser = argparse.ArgumentParser(prog="python -m devtools.race", description=__doc__)
    parser.add_argument("--region", default="us")
    parser.add_argument("--overlay", type=Path, help="settings file of the local stack, such as .stack/us.yaml")
    parser.add_argument("--seeds", type=int, default=1_000)
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument("--fault", choices=[*FAULTS, "all"], default="none", help="a fault of the region's Redis")
    parser.add_argument(
        "--pipeline", type=float, metavar="SECONDS", help="run real workers on a private stack for so long instead"
    )
    parser.add_argument(
        "--engine",
        choices=[*CONDITIONS, "all_of_them"],
        help="run the delivery engine instead, with stops that begin by one-click requests, words by SMS and complaints",
    )
    options = parser.parse_args()
    if options.pipeline:
        return _run_pipeline(options.pipeline, options.first)
    name = f"race_{uuid4().hex[:8]}"
    settings = msgspec.structs.replace(load_settings(options.region, overlay=options.overlay), database=name)
    categories = configured_categories()
    if options.engine:
        return _run_engine(settings, range(options.first, options.first + options.seeds), options.engine)
    schedules = schedules_of(range(options.first, options.first + options.seeds), settings)
    results: dict[str, RaceResult] = {}
    for fault in FAULTS if options.fault == "all" else [options.fault]:
        report = _progress(fault, len(schedules))
        race = run_race(settings, categories, schedules, FAULTS[fault], prefix=name, on_progress=report)
        results[fault] = run_async(race)
    return _print(results)


def _run_engine(settings: Settings, seeds: range, chosen: str) -> int:
    results: dict[str, RaceResult] = {}
    for name in CONDITIONS if chosen == "all_of_them" else [chosen]:
        race = run_engine_race(
            settings, configured_categories(), seeds, CONDITIONS[name], prefix=f"{settings.database}_{name}"
        )
        results[name] = run_async(race)
        _progress(name, len(seeds))(results[name])
    return _print(results)


def _print(results: dict[str, RaceResult]) -> int:
    holds = all(result.holds for result in results.values())
    report_json = {"holds": holds, "races": {name: result.as_json() for name, result in results.items()}}
    print(msgspec.json.encode(report_json).decode())
    return 0 if holds else 1


def _run_pipeline(seconds: float, seed: int) -> int:
    async def run() -> RaceResult:
        async with ChaosEnvironment(stack_folder() / "race", 1, print_progress) as environment:
            return await run_pipeline_race(environment, seconds, seed)

    result = run_async(run())
    print(msgspec.json.encode(result.as_json()).decode())
    return 0 if result.holds else 1


def _progress(fault: str, total: int) -> Callable[[RaceResult], None]:
    def report(result: RaceResult) -> None:
        if result.seeds % 100 == 0 or result.seeds == total:
            print_progress(
                f"{fault}: {result.seeds} of {total} seeds, {result.calls} calls, {result.violations} violations"
            )

    return report


if __name__ == "__main__":
    sys.exit(main())
