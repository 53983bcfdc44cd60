"""`notify-streams bench router`: triggers waiting, a real standard worker on them, then the bare loop on the same records; rounds in turn."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import statistics
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import click

from devtools.benchmarks.results import conclude, say
from devtools.benchmarks.router.load import NOTIFICATIONS_A_TRIGGER, population, triggers
from devtools.load.decision_histogram import DecisionHistogram, read_decisions, together
from devtools.stack import Stack, stack_folder
from devtools.workers import WorkerPool
from notify_streams.admin.audit.topics import TopicReader
from notify_streams.admin.bootstrap import bootstrap_region
from notify_streams.admin.trigger_producer import TriggerProducer
from notify_streams.errors import NotifyError
from notify_streams.outbox.ledger import Ledger
from notify_streams.settings import Settings, load_settings
from notify_streams.stores.mongo import Shards

_REGION: Final = "us"
_TOPIC: Final = "triggers.payments"
#: The share of a run at its beginning and end that is not measured: a worker that warms up, a queue that runs dry.
_EDGE: Final = 0.1
_POLL_S: Final = 0.1
_DECISION_US: Final = 2_000


@click.command("router")
@click.option(
    "--triggers",
    "count",
    default=300_000,
    show_default=True,
    type=click.IntRange(1_000),
    help="Waiting at each round's start.",
)
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1))
@click.option("--workers", default=2, show_default=True, type=click.IntRange(1), help="Standard router workers.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def router(count: int, rounds: int, workers: int, as_json: bool) -> None:
    """Measure durable notifications per second, everything on this machine, beside the same work as a bare loop."""
    folder = stack_folder() / "bench"
    conclude(_measure(folder, count, rounds, workers, say), as_json, _line)


def _line(one: dict[str, Any]) -> str:
    verdict = "holds" if one["holds"] else "misses"
    beside = (
        "" if one["ratio"] is None else f", {one['ratio']:.2f} x {one['reference']} ({one['reference_value']:,.0f})"
    )
    return f"{verdict}: {one['name']} {one['value']:,.0f} {one['unit']}{beside}; goal {one['goal']}"


async def _measure(folder: Path, count: int, rounds: int, workers: int, say: Any) -> dict[str, Any]:
    stack = Stack(folder, environment={})
    try:
        await asyncio.to_thread(stack.up, [_REGION], 1)
        settings = load_settings(_REGION, environ={}, overlay=stack.settings_file(_REGION))
        await bootstrap_region(settings)
        async with TriggerProducer(settings) as upstream:
            await upstream.send(population())
        say("warming up: nothing counts yet")
        # A broker as young as its stack compiles itself on the processors that are measured.
        await _worker(settings, folder, await _loaded(settings, count, "warm-up"), count, workers)
        ours, bare, decisions = [], [], []
        for number in range(rounds):
            start = await _loaded(settings, count, f"{number:02x}")
            pace, decided = await _worker(settings, folder, start, count, workers)
            ours.append(NOTIFICATIONS_A_TRIGGER * pace)
            decisions.append(decided)
            bare.append(NOTIFICATIONS_A_TRIGGER * await _bare(folder, start, count))
            say(f"round {number + 1}: {ours[-1]:,.0f} notifications/s, bare loop {bare[-1]:,.0f}")
        return _report(ours, bare, together(decisions))
    finally:
        await asyncio.to_thread(stack.down, [_REGION], True)


async def _loaded(settings: Settings, count: int, run: str) -> dict[int, int]:
    """Send `count` triggers; where in each partition they begin."""
    async with TopicReader(settings) as topics:
        start = await topics.ends(_TOPIC)
    async with TriggerProducer(settings) as upstream:
        await upstream.send(triggers(count, run))
    return start


async def _worker(
    settings: Settings, folder: Path, start: dict[int, int], count: int, workers: int
) -> tuple[float, DecisionHistogram]:
    """Triggers per second over the middle of the run, and how long their decisions took.

    The pace is read from the ledger: what it counts is in MongoDB and published.
    """
    pool = WorkerPool(_REGION, {"NOTIFY_STACK_DIR": str(folder)}, folder / "workers")
    shards = Shards(settings)
    await shards.start()
    ledger = Ledger(shards, "standard", 10.0)
    first = sum(start.values())
    samples: list[tuple[float, int]] = []
    try:
        for _ in range(workers):
            await pool.start("standard")
        while True:
            positions = await ledger.positions([(_TOPIC, partition) for partition in start])
            done = sum(positions.values()) - first if len(positions) == len(start) else 0
            samples.append((time.perf_counter(), done))
            if done >= count:
                pace = _pace(samples, count)
                return pace, together([await read_decisions(worker.url) for worker in pool.running("standard")])
            if time.perf_counter() - samples[0][0] > 600:
                raise NotifyError(f"the worker did {done} of {count} triggers in 10 minutes")
            await asyncio.sleep(_POLL_S)
    finally:
        await pool.stop_all()
        await shards.close()


def _pace(samples: list[tuple[float, int]], count: int) -> float:
    """The slope between the first sample past the edge at the beginning and the last before the one at the end."""
    middle = [(at, done) for at, done in samples if _EDGE * count <= done <= (1 - _EDGE) * count]
    if len(middle) < 2:
        raise NotifyError("the run was too short to measure: more --triggers")
    (began, low), (ended, high) = middle[0], middle[-1]
    return (high - low) / (ended - began)


async def _bare(folder: Path, start: dict[int, int], count: int) -> float:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "devtools.benchmarks.router.baseline", _REGION, str(count)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "NOTIFY_STACK_DIR": str(folder)},
    )
    answer, _ = await asyncio.wait_for(process.communicate(json.dumps(start).encode()), 600)
    if process.returncode:
        raise NotifyError(f"the bare loop ended with {process.returncode}")
    found = json.loads(answer)
    if found["triggers"] < count:
        raise NotifyError(f"the bare loop did {found['triggers']} of {count} triggers")
    return float(found["triggers"] / found["seconds"])


def _report(ours: list[float], bare: list[float], decisions: DecisionHistogram) -> dict[str, Any]:
    value, reference = statistics.median(ours), statistics.median(bare)
    ratio = statistics.median(one / other for one, other in zip(ours, bare, strict=True))
    p99_us = decisions.p99_us()
    pace, us = "notifications/s", "us"
    figures = [
        _figure("router against bare loop", value, pace, "at least 0.7 x", ratio >= 0.7, reference, ratio),
        _figure("durable notifications", value, pace, "at least 40000/s", value >= 40_000),
        _figure("a decision, p99 of the workers' histograms", p99_us, us, "under 2000 us", p99_us < _DECISION_US),
    ]
    names = ("faust-streaming", "aiokafka", "pymongo", "msgspec")
    return {
        "holds": all(one["holds"] for one in figures),
        "figures": figures,
        "rounds": {"router": ours, "bare": bare},
        "machine": {"cores": os.cpu_count(), "python": platform.python_version()},
        "versions": {name: version(name) for name in names},
    }


def _figure(
    name: str,
    value: float,
    unit: str,
    goal: str,
    holds: bool,
    reference_value: float | None = None,
    ratio: float | None = None,
) -> dict[str, Any]:
    return {
        "name": name,
        "value": value,
        "unit": unit,
        "reference": None if reference_value is None else "the bare loop",
        "reference_value": reference_value,
        "ratio": ratio,
        "goal": goal,
        "holds": holds,
    }
