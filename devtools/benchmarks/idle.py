"""`notify-streams bench idle`: what the workers of a region cost without any work."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from devtools.benchmarks.delivery.checkout_region import THIS_CHECKOUT, CheckoutRegion, checkout_region
from devtools.benchmarks.delivery.sink import running_sink
from devtools.benchmarks.results import Figure, Goal, beside, figure, report
from devtools.cpu import cpu_s
from notify_streams.cli.output import print_progress
from notify_streams.roles import ROLES, VIEWS, WEBHOOKS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: The work of a start is done by then.
_SETTLE_S: Final = 15.0
_GOAL: Final = Goal("at most", 0.25, of_ratio=True)
#: Percent of one processor, by role; a service of the region by its name.
_Cost = dict[str, float]


async def measure(folder: Path, seconds: float, rounds: int, old: Path | None) -> dict[str, Any]:
    runs: dict[str, list[_Cost]] = defaultdict(list)
    checkouts = {"this": THIS_CHECKOUT} | ({"old": old} if old else {})
    async with running_sink(folder / "sink") as sink:
        for number in range(rounds):
            for name in checkouts if number % 2 == 0 else reversed(checkouts):
                # An older checkout has no workers for views and webhooks.
                roles = ROLES if name == "this" else [role for role in ROLES if role not in (VIEWS, WEBHOOKS)]
                async with checkout_region(name, checkouts[name], folder / name, sink) as region:
                    runs[name].append(await _cost(region, roles, seconds))
                print_progress(
                    f"round {number + 1} of {rounds}, {name}: {_workers(runs[name][-1]):.1f} % of a processor"
                )
    return report(figures(runs))


def figures(runs: Mapping[str, Sequence[_Cost]]) -> list[Figure]:
    """Medians of the rounds."""
    mine, old = runs["this"], runs.get("old")
    name = f"{len(ROLES)} idle workers"
    found = [_figure(name, [*map(_workers, mine)], None if old is None else [*map(_workers, old)], _GOAL)]
    for name in mine[0]:
        of_old = None if old is None or name not in old[0] else [one[name] for one in old]
        found.append(_figure(name, [one[name] for one in mine], of_old))
    return found


def _figure(name: str, mine: Sequence[float], old: Sequence[float] | None, goal: Goal | None = None) -> Figure:
    if old is None:
        return figure(name, median(mine), "% of a processor")
    return beside(name, mine, "% of a processor", goal, "older checkout", old)


def _workers(cost: _Cost) -> float:
    return sum(value for name, value in cost.items() if name in ROLES)


async def _cost(region: CheckoutRegion, roles: Sequence[str], seconds: float) -> _Cost:
    async with AsyncExitStack() as closing:
        closing.push_async_callback(region.pool.stop_all)
        workers = {role: await region.pool.start(role) for role in roles}
        await asyncio.gather(*(worker.wait_until_ready() for worker in workers.values()))
        await asyncio.sleep(_SETTLE_S)
        pids = {role: worker.process.pid for role, worker in workers.items()}
        before, services, began = {role: cpu_s(pid) for role, pid in pids.items()}, region.cpu(), time.monotonic()
        await asyncio.sleep(seconds)
        took_s, used = time.monotonic() - began, region.cpu() - services
        found = {role: 100 * (cpu_s(pid) - before[role]) / took_s for role, pid in pids.items()}
        return found | {"MongoDB": 100 * used.mongodb / took_s, "Kafka": 100 * used.kafka / took_s}
