"""``python -m devtools.race``: the long form, against the stores of a region's settings."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import msgspec

from devtools.chaos.environment import ChaosEnvironment
from devtools.race.faults import FAULTS
from devtools.race.pipeline import race_through
from devtools.race.runner import Race, plans_of, run_race
from devtools.stack import stack_folder
from notify_streams.preferences.categories import configured_categories
from notify_streams.settings import load_settings


def main() -> int:
    """Exit status 0 only if every fault's race holds."""
    options = argparse.ArgumentParser(prog="python -m devtools.race", description=__doc__)
    options.add_argument("--region", default="us")
    options.add_argument("--overlay", type=Path, help="the local stack's service addresses, e.g. .stack/us.yaml")
    options.add_argument("--seeds", type=int, default=1_000)
    options.add_argument("--first", type=int, default=1, help="the first seed")
    options.add_argument("--fault", choices=[*FAULTS, "all"], default="none", help="hurts the region's Redis")
    options.add_argument(
        "--pipeline", type=float, metavar="SECONDS", help="instead: real workers on a stack of its own for so long"
    )
    chosen = options.parse_args()
    if chosen.pipeline:
        return _pipeline(chosen.pipeline, chosen.first)
    name = f"race_{uuid4().hex[:8]}"
    settings = msgspec.structs.replace(load_settings(chosen.region, overlay=chosen.overlay), database=name)
    categories = configured_categories()
    plans = plans_of(range(chosen.first, chosen.first + chosen.seeds), settings)
    results: dict[str, Race] = {}
    for fault in FAULTS if chosen.fault == "all" else [chosen.fault]:
        race = run_race(settings, categories, plans, FAULTS[fault], prefix=name, on_progress=_report(fault, len(plans)))
        results[fault] = asyncio.run(race)
    holds = all(race.holds for race in results.values())
    answer = {"holds": holds, "races": {fault: race.as_json() for fault, race in results.items()}}
    print(msgspec.json.encode(answer).decode())
    return 0 if holds else 1


def _pipeline(seconds: float, seed: int) -> int:
    async def run() -> Race:
        folder = stack_folder() / "race"
        async with ChaosEnvironment(folder, 1, lambda line: print(line, file=sys.stderr)) as ground:
            return await race_through(ground, seconds, seed)

    race = asyncio.run(run())
    print(msgspec.json.encode(race.as_json()).decode())
    return 0 if race.holds else 1


def _report(fault: str, of: int) -> Callable[[Race], None]:
    def report(race: Race) -> None:
        if race.seeds % 100 == 0 or race.seeds == of:
            print(
                f"{fault}: {race.seeds} of {of} seeds, {race.calls} calls, {race.violations} violations",
                file=sys.stderr,
            )

    return report


if __name__ == "__main__":
    raise SystemExit(main())
