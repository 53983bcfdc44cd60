"""Throughput and latency of the forward role and its baseline over one link.

Both are measured by what is readable in the far cluster.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from aiokafka import TopicPartition

from devtools import subprocesses
from devtools.benchmarks.arrival_timer import ArrivalTimer
from devtools.benchmarks.forwarding.environment import HERE
from devtools.benchmarks.forwarding.load import SOURCE, TARGET, forwarded_triggers
from devtools.benchmarks.rates import RecordsMissing, steady_rate
from devtools.benchmarks.region import worker_pool
from devtools.percentiles import percentiles_of
from devtools.subprocesses import python_module
from notify_streams import kafka
from notify_streams.admin.audit.topics import TopicReader
from notify_streams.admin.trigger_producer import TriggerProducer
from notify_streams.cli.output import print_progress
from notify_streams.errors import StoreUnavailable
from notify_streams.roles import app_id

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from devtools.benchmarks.forwarding.environment import ForwardingEnvironment
    from devtools.percentiles import Percentiles

ROLE: Final = "forward role"
BASELINE: Final = "baseline"
_POLL_S: Final = 0.05
_TIMEOUT_S: Final = 180.0
_LAST_RECORDS_S: Final = 30.0
_EVERY_S: Final = 0.02
_WARM_UP: Final = 50


async def per_second(environment: ForwardingEnvironment, forwarder: str, count: int, run: str) -> float:
    """Triggers a second while `count` of them wait. `forwarder`: `ROLE` or `BASELINE`.

    Raises:
        RecordsMissing: some did not arrive.
    """
    start = await _ends(environment)
    async with TriggerProducer(environment.here) as producer:
        await producer.send(forwarded_triggers(count, run))
    async with ArrivalTimer(environment.far, [TARGET]) as timer:
        samples: list[tuple[float, int]] = []
        async with _forwarding(environment, forwarder, start):
            began = time.perf_counter()
            while (found := await timer.count()) < count and time.perf_counter() - began < _TIMEOUT_S:
                samples.append((time.perf_counter(), found))
                await asyncio.sleep(_POLL_S)
        timer.start()
        await timer.wait_for(TARGET, count, _LAST_RECORDS_S)
        if (arrived := len(timer.arrived[TARGET])) < count:
            raise RecordsMissing(forwarder, arrived, count)
    return steady_rate(samples, count)


async def latency(environment: ForwardingEnvironment, forwarder: str, count: int, run: str) -> Percentiles:
    """From Kafka's acknowledgement here until readable there, one record after the other at 50 a second.

    Raises:
        RecordsMissing: some did not arrive.
    """
    start = await _ends(environment)
    sent: dict[bytes, float] = {}
    async with ArrivalTimer(environment.far, [TARGET]) as timer, TriggerProducer(environment.here) as producer:
        timer.start()
        async with _forwarding(environment, forwarder, start):
            await producer.send(forwarded_triggers(_WARM_UP, f"{run}-warm"))
            await timer.wait_for(TARGET, _WARM_UP, _TIMEOUT_S)  # the start of the forwarder is not measured
            at = time.perf_counter()
            for upload in forwarded_triggers(count, run):
                await producer.send([upload])
                sent[upload[2] or b""] = time.time()
                at = max(at + _EVERY_S, time.perf_counter())
                await asyncio.sleep(at - time.perf_counter())
            await timer.wait_for(TARGET, len(sent) + _WARM_UP, _LAST_RECORDS_S)
        arrived = timer.arrived[TARGET]
        if missing := sent.keys() - arrived.keys():
            raise RecordsMissing(forwarder, len(sent) - len(missing), len(sent))
        return percentiles_of([arrived[value] - moment for value, moment in sent.items()])


async def _ends(environment: ForwardingEnvironment) -> dict[int, int]:
    async with TopicReader(environment.here) as topics:
        return await topics.ends(SOURCE)


@asynccontextmanager
async def _forwarding(environment: ForwardingEnvironment, forwarder: str, start: dict[int, int]) -> AsyncIterator[None]:
    """Run the forwarder from the offsets `start` on, until the block ends."""
    if forwarder == ROLE:
        await _commit(environment, start)
        async with worker_pool(environment.folder, environment.environ) as pool:
            await (await pool.start("forward")).wait_until_ready()
            yield
        return
    command = python_module("devtools.benchmarks.forwarding.baseline", environment.here.kafka, environment.link)
    async with subprocesses.running(command, env={**os.environ, **environment.environ}) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(json.dumps(start).encode() + b"\n")
        if await asyncio.wait_for(process.stdout.readline(), 60.0) != b"reading\n":
            raise StoreUnavailable("the baseline did not start")
        yield


async def _commit(environment: ForwardingEnvironment, start: dict[int, int]) -> None:
    """Commit `start` for the role, so that it does not begin with the records that the baseline has forwarded."""
    consumer = kafka.consumer(environment.here.kafka_connection(), group=app_id(HERE, "forward"))
    await consumer.start()
    try:
        offsets = {TopicPartition(SOURCE, partition): offset for partition, offset in start.items()}
        consumer.assign(list(offsets))
        await consumer.commit(offsets)
    finally:
        await consumer.stop()


async def in_turn(
    environment: ForwardingEnvironment,
    round_trip_ms: int,
    rounds: int,
    count: int,
    singles: int,
) -> dict[str, list[float]]:
    """Measure both, round after round, over one link; returns values by ``<round trip> <what> <forwarder>``."""
    runs: dict[str, list[float]] = {}
    async with environment.linked(round_trip_ms):
        for forwarder in (ROLE, BASELINE):  # not counted: brokers and page caches are cold
            await per_second(environment, forwarder, count, f"{round_trip_ms}-warm-{forwarder[0]}")
        for number in range(rounds):
            for forwarder in (ROLE, BASELINE) if number % 2 == 0 else (BASELINE, ROLE):
                tag = f"{round_trip_ms}-{number}-{forwarder[0]}"
                rate = await per_second(environment, forwarder, count, f"{tag}p")
                single = await latency(environment, forwarder, singles, f"{tag}s")
                for what, value in (("pace", rate), ("median", single.p50), ("p99", single.p99)):
                    runs.setdefault(f"{round_trip_ms} {what} {forwarder}", []).append(value)
                print_progress(
                    f"{round_trip_ms} ms, round {number + 1}, {forwarder}: {rate:,.0f} triggers/s; "
                    f"one by one {single.p50:.0f} ms, p99 {single.p99:.0f}"
                )
    return runs
