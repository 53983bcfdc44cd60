"""`notify-streams bench delivery`: push deliveries beside bare senders."""

from __future__ import annotations

from collections import defaultdict
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

from devtools.benchmarks.delivery.checkout_region import THIS_CHECKOUT, CheckoutRegion, checkout_region
from devtools.benchmarks.delivery.push_worker import measure_alternately, measure_backlog, measure_flow, rendering_us
from devtools.benchmarks.delivery.references import GO, measure_senders, senders
from devtools.benchmarks.delivery.report import (
    ALONE,
    CONNECTIONS,
    FLOW,
    KAFKA_CPU,
    MONGODB_CPU,
    NEW,
    OLD,
    RENDERING,
    SENDER_CPU,
    SENDER_RATE,
    SINK_CPU,
    WITH_TEMPLATES,
    WITHOUT_TEMPLATES,
    WORKER_CPU,
    case,
    report,
)
from devtools.benchmarks.delivery.sink import running_sink
from notify_streams.cli.output import print_progress

#: A broker that was just started compiles its code on the processors that are measured.
_WARM_UP: Final = 2_000
_RENDERED: Final = 20_000


async def measure(folder: Path, count: int, rounds: int, old: Path | None) -> dict[str, Any]:
    """Each round: each checkout's worker with a router and on a backlog, then the bare senders with the same requests.

    Of this checkout also what templates cost.
    """
    runs: dict[str, list[float]] = defaultdict(list)
    async with AsyncExitStack() as closing:
        sink = await closing.enter_async_context(running_sink(folder / "sink"))
        checkouts = {NEW: THIS_CHECKOUT} | ({OLD: old} if old else {})
        regions = [
            await closing.enter_async_context(checkout_region(name, checkout, folder / name.replace(" ", "-"), sink))
            for name, checkout in checkouts.items()
        ]
        commands = await senders(folder)
        print_progress("warming up: nothing counts yet")
        for region in regions:
            await measure_flow(region, min(count, _WARM_UP))
        for number in range(rounds):
            bodies: dict[str, list[bytes]] = {}
            for region in regions if number % 2 == 0 else reversed(regions):
                bodies[region.name] = await _measure_region(region, count, runs)
            runs[RENDERING].append(rendering_us(_RENDERED))
            for name, found in (await measure_senders(commands, sink, folder, bodies[NEW])).items():
                runs[case(name, SENDER_RATE)].append(found.per_s)
                runs[case(name, SENDER_CPU)].append(found.cpu_us)
            rates = ", ".join(
                f"{name} {values[-1]:,.0f}/s" for name, values in runs.items() if name.endswith((ALONE, SENDER_RATE))
            )
            print_progress(f"round {number + 1} of {rounds}: {rates}")
        for region in regions:
            await region.audit()
    not_measured = [f"{GO}: not measured: no Go"] if GO not in commands else []
    not_measured += [] if old else [f"{OLD}: not measured: no --old"]
    for line in not_measured:
        print_progress(line)
    return report(runs, not_measured)


async def _measure_region(region: CheckoutRegion, count: int, runs: dict[str, list[float]]) -> list[bytes]:
    """Add the values of one round to `runs`, of this checkout also with and without templates; returns what was sent."""
    flow, start = await measure_flow(region, count)
    backlog = await measure_backlog(region, count, start)
    values = {
        FLOW: flow,
        ALONE: backlog.per_s,
        WORKER_CPU: backlog.worker_us,
        MONGODB_CPU: backlog.mongodb_us,
        KAFKA_CPU: backlog.kafka_us,
        SINK_CPU: backlog.sink_us,
        CONNECTIONS: backlog.connections,
    }
    for what, value in values.items():
        runs[case(region.name, what)].append(value)
    if region.name == NEW:
        with_templates, without = await measure_alternately(region, count)
        runs[case(WITH_TEMPLATES, WORKER_CPU)] += with_templates
        runs[case(WITHOUT_TEMPLATES, WORKER_CPU)] += without
    return backlog.bodies
