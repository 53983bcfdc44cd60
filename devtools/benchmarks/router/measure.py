"""`notify-streams bench router`: throughput of router workers beside a baseline."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from typing import TYPE_CHECKING, Any, Final

from devtools import subprocesses
from devtools.benchmarks.rates import RecordsMissing, steady_rate
from devtools.benchmarks.region import environment, local_region, router_baseline, worker_pool
from devtools.benchmarks.results import Goal, beside, figure, report
from devtools.benchmarks.router.load import NOTIFICATIONS_A_TRIGGER, TOPIC, triggers
from devtools.load.decision_histogram import DecisionHistogram, merged, read_decisions
from notify_streams.admin.audit.topics import TopicReader
from notify_streams.admin.trigger_producer import TriggerProducer
from notify_streams.cli.output import print_progress
from notify_streams.outbox.ledger import Ledger
from notify_streams.stores.mongo import Shards

if TYPE_CHECKING:
    from pathlib import Path

    from notify_streams.settings import Settings

_POLL_S: Final = 0.1
_TIMEOUT_S: Final = 600.0


async def measure(folder: Path, count: int, rounds: int, workers: int, partitions: int | None) -> dict[str, Any]:
    """Each round: real workers, then the baseline, on the same waiting triggers."""
    async with local_region(folder, partitions) as settings:
        print_progress("warming up: nothing counts yet")
        # A broker that was just started compiles its code on the processors that are measured.
        await _workers_rate(settings, folder, await _fill(settings, count, "warm-up"), count, workers)
        ours, baseline, decisions = [], [], []
        for number in range(rounds):
            start = await _fill(settings, count, f"{number:02x}")
            rate, decided = await _workers_rate(settings, folder, start, count, workers)
            ours.append(NOTIFICATIONS_A_TRIGGER * rate)
            decisions.append(decided)
            baseline.append(NOTIFICATIONS_A_TRIGGER * await _baseline_rate(folder, start, count))
            print_progress(f"round {number + 1}: {ours[-1]:,.0f} notifications/s, baseline {baseline[-1]:,.0f}")
        return _report(ours, baseline, merged(decisions))


async def _fill(settings: Settings, count: int, run: str) -> dict[int, int]:
    """Send `count` triggers; returns the offset in each partition at which they start."""
    async with TopicReader(settings) as topics:
        start = await topics.ends(TOPIC)
    async with TriggerProducer(settings) as producer:
        await producer.send(triggers(count, run))
    return start


async def _workers_rate(
    settings: Settings, folder: Path, start: dict[int, int], count: int, workers: int
) -> tuple[float, DecisionHistogram]:
    """Triggers per second, and the times of their decisions.

    Progress is read from the ledger, which counts only what is in MongoDB and published.
    """
    first, partitions = sum(start.values()), [(TOPIC, partition) for partition in start]
    samples: list[tuple[float, int]] = []
    async with Shards(settings) as shards, worker_pool(folder) as pool:
        ledger = Ledger(shards, "standard", 10.0)
        for _ in range(workers):
            await pool.start("standard")
        while not samples or samples[-1][1] < count:
            if samples and time.perf_counter() - samples[0][0] > _TIMEOUT_S:
                raise RecordsMissing("router", samples[-1][1], count)
            await asyncio.sleep(_POLL_S)
            positions = await ledger.positions(partitions)
            done = sum(positions.values()) - first if len(positions) == len(start) else 0
            samples.append((time.perf_counter(), done))
        decisions = [await read_decisions(worker.url) for worker in pool.running("standard")]
        return steady_rate(samples, count), merged(decisions)


async def _baseline_rate(folder: Path, start: dict[int, int], count: int) -> float:
    out = await subprocesses.run(
        router_baseline(count), stdin=json.dumps(start).encode(), env=environment(folder), timeout_s=_TIMEOUT_S
    )
    found = json.loads(out)
    if found["triggers"] < count:
        raise RecordsMissing("baseline", found["triggers"], count)
    return float(found["triggers"] / found["seconds"])


def _report(ours: list[float], baseline: list[float], decisions: DecisionHistogram) -> dict[str, Any]:
    value, rate = statistics.median(ours), "notifications/s"
    at_least = Goal("at least", 0.7, of_ratio=True)
    figures = [
        beside("router against the baseline", ours, rate, at_least, "baseline", baseline),
        figure("durable notifications", value, rate, Goal("at least", 40_000)),
        figure("a decision, p99 of the workers' histograms", decisions.p99_us(), "us", Goal("under", 2_000)),
    ]
    return report(figures, rounds={"router": ours, "baseline": baseline})
