"""One contestant on one link: how much it carries, and how long one record takes. In: the ground; out: a number, or a refusal.

The forward role and the bare loop are measured by the same stopwatch: what is readable in the far cluster counts, nothing else.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from contextlib import asynccontextmanager
from statistics import quantiles
from typing import TYPE_CHECKING, Final

from aiokafka import TopicPartition

from devtools.benchmarks.forwarding.arrival_timer import ArrivalTimer
from devtools.benchmarks.forwarding.environment import HERE
from devtools.benchmarks.forwarding.load import SOURCE, waiting
from devtools.benchmarks.transport.runner import RecordsMissing
from devtools.workers import WorkerPool
from notify_streams import kafka
from notify_streams.admin.audit.topics import TopicReader
from notify_streams.admin.trigger_producer import TriggerProducer
from notify_streams.errors import NotifyError, StoreUnavailable
from notify_streams.roles import app_id

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from devtools.benchmarks.forwarding.environment import ForwardingEnvironment

ROLE: Final = "forward role"
BARE: Final = "bare loop"
#: The share of a run at its beginning and its end that is not measured: connections that open, a queue that runs dry.
_EDGE: Final = 0.1
_POLL_S: Final = 0.05
_PATIENCE_S: Final = 180.0
_EVERY_S: Final = 0.02
_WARM_UP: Final = 50


async def per_second(ground: ForwardingEnvironment, contestant: str, count: int, run: str) -> float:
    """Triggers a second, while `count` of them wait.

    Raises:
        RecordsMissing: not every one of them was there in the end.
    """
    start = await _ends(ground)
    async with TriggerProducer(ground.here) as upstream:
        await upstream.send(waiting(count, run))
    async with ArrivalTimer(ground.far) as stopwatch:
        samples: list[tuple[float, int]] = []
        async with _running(ground, contestant, start):
            began = time.perf_counter()
            while (found := await stopwatch.count()) < count and time.perf_counter() - began < _PATIENCE_S:
                samples.append((time.perf_counter(), found))
                await asyncio.sleep(_POLL_S)
        stopwatch.read()
        await stopwatch.until(count, 30.0)
        _complete(contestant, len(stopwatch.arrived), count)
    return _pace(samples, count)


async def latency_ms(ground: ForwardingEnvironment, contestant: str, count: int, run: str) -> tuple[float, float]:
    """Median and 99th percentile from "acknowledged here" to "readable there", one record after the other at 50 a second.

    Raises:
        RecordsMissing: not every one of them was there in the end.
    """
    start = await _ends(ground)
    sent: dict[bytes, float] = {}
    async with ArrivalTimer(ground.far) as stopwatch, TriggerProducer(ground.here) as upstream:
        stopwatch.read()
        async with _running(ground, contestant, start):
            await upstream.send(waiting(_WARM_UP, f"{run}-warm"))
            await stopwatch.until(_WARM_UP, _PATIENCE_S)  # a contestant that still starts is no link that is slow
            at = time.perf_counter()
            for upload in waiting(count, run):
                await upstream.send([upload])
                sent[upload[2] or b""] = time.time()
                at = max(at + _EVERY_S, time.perf_counter())
                await asyncio.sleep(at - time.perf_counter())
            await stopwatch.until(len(sent) + _WARM_UP, 30.0)
        _complete(contestant, len(sent.keys() & stopwatch.arrived.keys()), len(sent))
        took = sorted(stopwatch.arrived[value] - moment for value, moment in sent.items())
    cuts = quantiles(took, n=100)
    return cuts[49] * 1000, cuts[98] * 1000


async def _ends(ground: ForwardingEnvironment) -> dict[int, int]:
    async with TopicReader(ground.here) as topics:
        return await topics.ends(SOURCE)


@asynccontextmanager
async def _running(ground: ForwardingEnvironment, contestant: str, start: dict[int, int]) -> AsyncIterator[None]:
    """The contestant works from `start` on, as long as the block lasts."""
    if contestant == ROLE:
        await _commit(ground, start)
        pool = WorkerPool(HERE, ground.environ, ground.folder / "workers")
        try:
            await (await pool.start("forward")).wait_until_ready()
            yield
        finally:
            await pool.stop_all()
        return
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "devtools.benchmarks.forwarding.baseline", ground.here.kafka, ground.link),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, **ground.environ},
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        process.stdin.write(json.dumps(start).encode() + b"\n")
        if await asyncio.wait_for(process.stdout.readline(), 60.0) != b"reading\n":
            raise StoreUnavailable("the bare loop did not start")
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _commit(ground: ForwardingEnvironment, start: dict[int, int]) -> None:
    """Let the role begin there: what the bare loop carried before would else be waiting for the role, and count for it."""
    group = app_id(HERE, "forward")
    consumer = kafka.consumer(ground.here.kafka_connection(), group=group)
    await consumer.start()
    try:
        places = {TopicPartition(SOURCE, partition): offset for partition, offset in start.items()}
        consumer.assign(list(places))
        await consumer.commit(places)
    finally:
        await consumer.stop()


def _complete(contestant: str, found: int, wanted: int) -> None:
    if found < wanted:
        raise RecordsMissing(contestant, found, wanted)


def _pace(samples: list[tuple[float, int]], count: int) -> float:
    """The slope between the first sample past the edge at the beginning and the last before the one at the end."""
    middle = [(at, done) for at, done in samples if _EDGE * count <= done <= (1 - _EDGE) * count]
    if len(middle) < 2 or middle[-1][1] == middle[0][1]:
        raise NotifyError("the run was too short to measure: more --triggers")
    (began, low), (ended, high) = middle[0], middle[-1]
    return (high - low) / (ended - began)


async def in_turn(
    ground: ForwardingEnvironment, round_trip_ms: int, rounds: int, count: int, singles: int, say: Callable[[str], None]
) -> dict[str, list[float]]:
    """Every contestant, round after round, over one link: values by ``<round trip> <what> <contestant>``."""
    runs: dict[str, list[float]] = {}
    async with ground.linked(round_trip_ms):
        for contestant in (ROLE, BARE):  # not counted: brokers and page caches that are cold for whoever comes first
            await per_second(ground, contestant, count, f"{round_trip_ms}-warm-{contestant[0]}")
        for number in range(rounds):
            for contestant in (ROLE, BARE) if number % 2 == 0 else (BARE, ROLE):
                tag = f"{round_trip_ms}-{number}-{contestant[0]}"
                pace = await per_second(ground, contestant, count, f"{tag}p")
                median, p99 = await latency_ms(ground, contestant, singles, f"{tag}s")
                for what, value in (("pace", pace), ("median", median), ("p99", p99)):
                    runs.setdefault(f"{round_trip_ms} {what} {contestant}", []).append(value)
                say(
                    f"{round_trip_ms} ms, round {number + 1}, {contestant}: {pace:,.0f} triggers/s; "
                    f"one by one {median:.0f} ms, p99 {p99:.0f}"
                )
    return runs
