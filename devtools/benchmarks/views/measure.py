"""`notify-streams bench views`: the critical lane while clients load the views."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack
from math import ceil
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from devtools import subprocesses
from devtools.benchmarks.latency.measure import measure_lane
from devtools.benchmarks.region import local_region, service_pids, worker_pool
from devtools.benchmarks.results import Figure, Goal, figure, report
from devtools.cpu import cpu_s
from notify_streams.cli.output import print_progress

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from devtools.percentiles import Percentiles
    from notify_streams.settings import Settings

ALONE, CLIENTS, CPU = "no clients", "clients of the views", "a process that uses the same CPU"
#: On two processors, rounds of the same case differ by up to a quarter.
GOAL: Final = Goal("at most", 1.25, of_ratio=True)
#: At a multiple of the rate: services that were just started compile the code for requests that they have not had before.
_WARM_UP_S: Final = 60.0
_WARM_UP_TIMES: Final = 4.0


async def measure(folder: Path, rate: float, seconds: float, rounds: int) -> dict[str, Any]:
    """Start a local region in `folder`, measure, stop and wipe it."""
    runs: dict[str, list[Percentiles]] = {ALONE: [], CLIENTS: [], CPU: []}
    shares = []
    async with local_region(folder) as settings, worker_pool(folder) as pool:
        critical, region_views = [await pool.start(role) for role in ("critical", "views")]
        for worker in (critical, region_views):
            await worker.wait_until_ready()
        ports = [worker.url.rpartition(":")[2] for worker in (critical, region_views)]
        token = settings.web_read_token.reveal() if settings.web_read_token else ""
        clients = ("views", *ports, token)
        # The clients also cost what the two workers and the services use for them.
        counted = [critical.process.pid, region_views.process.pid, *service_pids(folder)]
        await _beside([clients], settings, _WARM_UP_TIMES * rate, _WARM_UP_S)
        for number in range(rounds):
            found, before = await _beside([], settings, rate, seconds, counted)
            runs[ALONE].append(found)
            found, used = await _beside([clients], settings, rate, seconds, counted)
            runs[CLIENTS].append(found)
            share = max(0.01, used - before)
            shares.append(round(share, 2))
            count = max(1, ceil(share))
            found, _ = await _beside([("cpu", str(share / count))] * count, settings, rate, seconds)
            runs[CPU].append(found)
            p99 = ", ".join(f"{case} {of_case[-1].p99} ms" for case, of_case in runs.items())
            print_progress(f"round {number + 1}, p99: {p99}; {share:.2f} processors used")
    return report(figures(runs), processors=shares)


def figures(runs: Mapping[str, Sequence[Percentiles]]) -> list[Figure]:
    """The medians of the rounds; the goal is about the 99th percentile."""
    found = []
    for name in ("p50", "p99", "max"):
        alone, clients, cpu = (median(getattr(one, name) for one in runs[case]) for case in (ALONE, CLIENTS, CPU))
        goal = GOAL if name == "p99" else None
        found.append(figure(f"critical router, {ALONE}, {name}", alone, "ms"))
        found.append(figure(f"critical router, {CLIENTS}, {name}", clients, "ms", goal, CPU, cpu))
    return found


async def _beside(
    processes: Sequence[tuple[str, ...]], settings: Settings, rate: float, seconds: float, counted: Sequence[int] = ()
) -> tuple[Percentiles, float]:
    """Percentiles beside these processes, and how many processors they and those `counted` used."""
    async with AsyncExitStack() as closing:
        pids = list(counted)
        for arguments in processes:
            command = subprocesses.python_module("devtools.benchmarks.views.clients", *arguments)
            pids.append((await closing.enter_async_context(subprocesses.running(command))).pid)
        began, before = time.monotonic(), sum(map(cpu_s, pids))
        found = await measure_lane(settings, True, rate, seconds)
        return found, (sum(map(cpu_s, pids)) - before) / (time.monotonic() - began)
