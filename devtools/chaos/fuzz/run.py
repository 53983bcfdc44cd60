"""Sends hostile batches to a running region, and good records behind each."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from dataclasses import asdict
from datetime import UTC, datetime
from random import Random
from typing import TYPE_CHECKING, Any, Final

from devtools.chaos.fuzz.corpus import known_cases, topics_of, valid_seeds
from devtools.chaos.fuzz.mutations import SHAPES, draw_record
from devtools.chaos.fuzz.neighbours import STEPS, Neighbours, Result, late
from devtools.chaos.fuzz.records import RawRecord, RawWriter, load, save
from devtools.chaos.fuzz.worker_state import cpu_s, ended, rss_mb, unwell
from devtools.percentiles import percentiles_of
from notify_streams.admin.trigger_producer import TriggerProducer
from notify_streams.roles import ROLES, VIEWS
from notify_streams.topics import REGION_CONTROL

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from devtools.chaos.environment import ChaosEnvironment
    from devtools.chaos.fuzz.corpus import Seed
    from devtools.workers import Worker

_BATCH: Final = 200
#: Rounds before memory is measured for the first time: caches and pools have filled then.
_WARM_UP_ROUNDS: Final = 3
_MEMORY_MARGIN_MB: Final = 160.0
_MEMORY_RETURNS_S: Final = 60.0
_IDLE_S: Final = 3.0
#: Bytes of a small and of a large record. The same bytes in large records may take so many times the CPU, and so much more.
_TRIGGER_SIZES: Final = (15_000, 240_000)
_OTHER_SIZES: Final = (3_500, 56_000)
_CPU_RATIO: Final = 3.0
_CPU_NOISE_S: Final = 2.0
#: For receipts, whose lag nothing reads.
_SETTLE_S: Final = 1.0


async def fuzz(
    environment: ChaosEnvironment,
    minutes: float,
    seed: int,
    limit_s: float,
    failures: Path,
    replay: Path | None = None,
) -> dict[str, Any]:
    """Starts the roles that do not run yet. Returns ``{"holds", "rounds", "faults", "seconds", "cpu_s", "rss_mb", ...}``.

    Args:
        limit_s: for each step of the good records, and for every worker to be ready again.
        failures: the folder for batches behind which something was wrong.
        replay: one of these files; sent instead of drawn batches.
    """
    workers = await _workers(environment)
    async with AsyncExitStack() as closing:
        writer = await closing.enter_async_context(RawWriter(environment.settings.kafka_connection()))
        producer = await closing.enter_async_context(TriggerProducer(environment.settings))
        views = next(worker.url for worker in workers if worker.role == VIEWS)
        neighbours = await closing.enter_async_context(
            Neighbours(environment.settings, producer, views, f"good{time.time_ns():x}")
        )
        run = _Run(environment, workers, writer, neighbours, limit_s, failures)
        await run.warm_up()
        end = time.monotonic() + 60 * minutes
        for number, batch in enumerate(_batches(environment, seed, replay)):
            # The first batch has the known cases, those after it are drawn.
            if not await run.round(f"{seed}-{number}", batch) or (number and time.monotonic() > end):
                break
        return await run.finish(seed)


async def _workers(environment: ChaosEnvironment) -> list[Worker]:
    """One worker of every role, all ready."""
    pool = environment.pool
    for role in ROLES:
        for surplus in pool.running(role)[1:]:
            await pool.stop(surplus)
        if not pool.running(role):
            await pool.start(role)
    workers = [pool.running(role)[0] for role in ROLES]
    await asyncio.gather(*(worker.wait_until_ready() for worker in workers))
    return workers


def _batches(environment: ChaosEnvironment, seed: int, replay: Path | None) -> Iterator[list[RawRecord]]:
    """The batch of a number is the same for each run with the same seed, but for its times."""
    if replay is not None:
        yield load(replay)
        return
    settings = environment.settings
    number = 0
    while True:
        draw = Random(f"fuzz-{seed}-{number}")
        now = datetime.now(UTC)
        seeds = valid_seeds(settings, now)
        cases = known_cases(now)
        if number == 0:
            yield [_placed(case, draw.randrange(settings.partitions)) for case in cases]
        yield [draw_record([*seeds, *seeds, *cases], settings.partitions, draw) for _ in range(_BATCH)]
        number += 1


def _placed(seed: Seed, partition: int) -> RawRecord:
    return RawRecord(seed.topic, 0 if seed.topic == REGION_CONTROL else partition, seed.key, seed.value, seed.headers)


class _Run:
    """The rounds of one fuzz test."""

    def __init__(
        self,
        environment: ChaosEnvironment,
        workers: Sequence[Worker],
        writer: RawWriter,
        neighbours: Neighbours,
        limit_s: float,
        failures: Path,
    ) -> None:
        self._environment = environment
        self._workers = workers
        self._writer = writer
        self._neighbours = neighbours
        self._limit_s = limit_s
        self._failures = failures
        self._seconds: dict[str, list[float]] = {step: [] for step in STEPS}
        self._faults: list[str] = []
        self._files: list[str] = []
        self._stuck = False
        self._idle: dict[str, float] = {}
        self._rss_before: dict[str, float] = {}
        self._rounds = self._records = self._bytes = self._refused = self._repeated = 0

    async def warm_up(self) -> None:
        """Measure the CPU of idle workers, and see that the good records are served when nothing else is sent."""
        before = {worker.name: cpu_s(worker) for worker in self._workers}
        await asyncio.sleep(_IDLE_S)
        self._idle = {worker.name: (cpu_s(worker) - before[worker.name]) / _IDLE_S for worker in self._workers}
        result = await self._neighbours.visit()
        self._faults += [f"without a batch: {fault}" for fault in result.faults]
        self._environment.report(f"fuzz: {_slowest(result)} without a batch")

    async def round(self, name: str, batch: Sequence[RawRecord]) -> bool:
        """Send a batch and the good records behind it. False if something is stuck, so that no further round would tell more."""
        self._rounds += 1
        self._records += len(batch)
        self._bytes += sum(record.size for record in batch)
        self._refused += await self._writer.write(batch)
        result = await self._neighbours.visit()
        self._repeated += result.repeated
        for step, values in result.seconds.items():
            self._seconds[step] += values
        faults = [*result.faults, *late(result, self._limit_s), *await unwell(self._workers, self._limit_s)]
        size = sum(record.size for record in batch) / 1e6
        self._environment.report(f"fuzz {name}: {len(batch)} records, {size:.1f} MB, {_slowest(result)}")
        if faults:
            file = self._failures / f"batch-{name}.jsonl"
            save(batch, file)
            self._files.append(str(file))
            for fault in faults:
                self._environment.report(f"fuzz {name}: {fault} (batch in {file})")
                self._faults.append(f"{name}: {fault}")
        if self._rounds == _WARM_UP_ROUNDS:
            self._rss_before = {worker.name: rss_mb(worker) for worker in self._workers}
        self._stuck = result.stuck or bool(ended(self._workers))
        return not self._stuck

    async def finish(self, seed: int) -> dict[str, Any]:
        """The report."""
        cpu = {} if self._stuck else await self._growth()
        memory = {} if self._stuck else await self._memory()
        self._faults += [f"sent although stopped: {one}" for one in self._neighbours.wrongly_sent()]
        audit: dict[str, Any] = {"holds": False, "differences": [], "in_flight": []}
        if not self._stuck:
            await self._environment.wait_until_drained()
            audit = await self._environment.audit()
        return {
            "holds": audit["holds"] and not self._faults,
            "seed": seed,
            "rounds": self._rounds,
            "records": self._records,
            "bytes": self._bytes,
            "refused_by_kafka": self._refused,
            "triggers_repeated": self._repeated,
            "faults": self._faults,
            "failing_batches": self._files,
            "step_ms": {step: asdict(percentiles_of(values)) for step, values in self._seconds.items() if values},
            "cpu_s": cpu,
            "rss_mb": memory,
            "differences": audit["differences"] + audit["in_flight"],
        }

    async def _growth(self) -> dict[str, Any]:
        """CPU for the same bytes in small and in large records, by worker."""
        small, large = [await self._cpu_for(place) for place in range(2)]
        for name, seconds in large.items():
            if seconds > _CPU_RATIO * small[name] + _CPU_NOISE_S:
                self._faults.append(
                    f"{name}: {seconds:.1f} s of CPU for large records, {small[name]:.1f} s for small ones"
                )
        return {name: {"small": round(small[name], 2), "large": round(seconds, 2)} for name, seconds in large.items()}

    async def _cpu_for(self, place: int) -> dict[str, float]:
        settings = self._environment.settings
        records = []
        for topic in topics_of(valid_seeds(settings, datetime.now(UTC))):
            sizes = _TRIGGER_SIZES if topic.startswith("triggers.") else _OTHER_SIZES
            for number in range(sizes[1] // sizes[place]):
                partition = 0 if topic == REGION_CONTROL else number % settings.partitions
                records += [RawRecord(topic, partition, None, shape(sizes[place])) for shape in SHAPES.values()]
        await self._environment.wait_until_drained()
        before = {worker.name: cpu_s(worker) for worker in self._workers}
        started = time.monotonic()
        await self._writer.write(records)
        await self._environment.wait_until_drained()
        await asyncio.sleep(_SETTLE_S)
        took_s = time.monotonic() - started
        return {
            worker.name: max(0.0, cpu_s(worker) - before[worker.name] - self._idle[worker.name] * took_s)
            for worker in self._workers
        }

    async def _memory(self) -> dict[str, Any]:
        """Megabytes by worker, after the first rounds and at the end. Waits for what is given back late."""
        deadline = time.monotonic() + _MEMORY_RETURNS_S
        while True:
            after = {worker.name: rss_mb(worker) for worker in self._workers}
            grown = {
                name: megabytes - self._rss_before[name]
                for name, megabytes in after.items()
                if megabytes - self._rss_before.get(name, megabytes) > _MEMORY_MARGIN_MB
            }
            if not grown or time.monotonic() > deadline:
                break
            await asyncio.sleep(1.0)
        self._faults += [f"{name} holds {megabytes:.0f} MB more than before" for name, megabytes in grown.items()]
        return {
            name: {"before": round(self._rss_before.get(name, megabytes)), "after": round(megabytes)}
            for name, megabytes in after.items()
        }


def _slowest(result: Result) -> str:
    return ", ".join(f"{step} {max(values):.1f} s" for step, values in result.seconds.items() if values)
