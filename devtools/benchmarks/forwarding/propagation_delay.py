"""What the speed of light allows: the decision, the hop inside a region, and the way to each other region, measured one trigger at a time.

In: the ground. Out: milliseconds (the decision: microseconds) by what was measured. Real workers do all of it; the stopwatch begins when
Kafka has acknowledged the trigger, and ends when the provider's sandbox is called, or when the far region's Kafka has it to read.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from statistics import quantiles
from typing import TYPE_CHECKING, Final

from devtools.benchmarks.forwarding.arrival_timer import ArrivalTimer
from devtools.benchmarks.forwarding.environment import FAR, HERE
from devtools.benchmarks.forwarding.load import ENTRY, person, population, trigger
from devtools.benchmarks.forwarding.round_trips import DISTANCES_MS
from devtools.benchmarks.transport.runner import RecordsMissing
from devtools.load.decision_histogram import DecisionHistogram, read_decisions
from devtools.workers import Worker, WorkerPool
from notify_streams.admin.audit.provider_log import read_provider_log
from notify_streams.admin.trigger_producer import TriggerProducer
from notify_streams.records.ids import notification_id

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from devtools.benchmarks.forwarding.environment import ForwardingEnvironment
    from notify_streams.admin.trigger_producer import Upload

ROLES: Final = ("critical", "cric_push", "forward")
#: A burst of so many is decided in batches, as under load.
BURST: Final = 4_000
_PATIENCE_S: Final = 60.0
_WARM_UP: Final = 20
#: Between two triggers that are sent alone: the one before must be over.
_PAUSE_S: Final = 0.3


async def measured(ground: ForwardingEnvironment, count: int, say: Callable[[str], None]) -> dict[str, list[float]]:
    """Every figure, `count` single triggers for each.

    Raises:
        RecordsMissing: a trigger did not arrive where it must.
    """
    runs: dict[str, list[float]] = {}
    pool = WorkerPool(HERE, ground.environ, ground.folder / "workers")
    try:
        async with TriggerProducer(ground.here) as upstream:
            await upstream.send(population(datetime.now(UTC)))
            async with ground.linked(DISTANCES_MS[0]):
                workers = [await pool.start(role) for role in ROLES]
                await asyncio.gather(*(worker.wait_until_ready() for worker in workers))
                _note(runs, "hop", await _hops(ground, upstream, count))
                runs["decision"] = [await _decision_us(ground, upstream, workers[0])]
                say(f"a decision {runs['decision'][0]:.0f} us, a hop {runs['hop median'][0]:.1f} ms")
            for round_trip_ms in DISTANCES_MS:
                async with ground.linked(round_trip_ms):
                    took = await _abroad(ground, upstream, count, f"far-{round_trip_ms}")
                _note(runs, f"{round_trip_ms}", took)
                say(f"{round_trip_ms} ms round trip: {runs[f'{round_trip_ms} median'][0]:.1f} ms")
    finally:
        await pool.stop_all()
    return runs


def _note(runs: dict[str, list[float]], name: str, took_s: list[float]) -> None:
    cuts = quantiles(took_s, n=100)
    runs[f"{name} median"], runs[f"{name} p99"] = [cuts[49] * 1000], [cuts[98] * 1000]


def _one(run: str, number: int, region: str) -> tuple[str, Upload]:
    user_id = person(number * 7919, region)
    trigger_id = f"{run}-{time.time_ns():x}-{number:06x}"
    return notification_id(trigger_id, user_id), (ENTRY, user_id, trigger(trigger_id, user_id), [("critical", b"1")])


async def _hops(ground: ForwardingEnvironment, upstream: TriggerProducer, count: int) -> list[float]:
    """Seconds from the acknowledgement here to the call of the provider here."""
    sent: dict[str, float] = {}
    for number in range(count + _WARM_UP):
        notification, upload = _one("hop", number, HERE)
        await upstream.send([upload])
        sent[notification] = time.time()
        await _until(lambda wanted=notification: wanted in _called(ground))  # type: ignore[misc]
    called = _called(ground)
    if missing := sent.keys() - called.keys():
        raise RecordsMissing("the hop in a region", len(sent) - len(missing), len(sent))
    return [called[one] - moment for one, moment in list(sent.items())[_WARM_UP:]]


async def _decision_us(ground: ForwardingEnvironment, upstream: TriggerProducer, router: Worker) -> float:
    """Microseconds a decision takes in a burst, its share of the batch's preference check included: what `/metrics` says."""
    before = await read_decisions(router.url)
    await upstream.send(_one("burst", number, HERE)[1] for number in range(BURST))
    burst = DecisionHistogram()
    async with asyncio.timeout(_PATIENCE_S):
        while burst.count < BURST:
            await asyncio.sleep(0.2)
            burst = await read_decisions(router.url) - before
    return burst.seconds / burst.count * 1e6


async def _abroad(ground: ForwardingEnvironment, upstream: TriggerProducer, count: int, run: str) -> list[float]:
    """Seconds from the acknowledgement here to "readable" there."""
    sent: dict[bytes, float] = {}
    async with ArrivalTimer(ground.far) as stopwatch:
        stopwatch.read()
        for number in range(count + _WARM_UP):
            upload = _one(run, number, FAR)[1]
            value = upload[2] or b""
            await upstream.send([upload])
            sent[value] = time.time()
            await _until(lambda wanted=value: wanted in stopwatch.arrived)  # type: ignore[misc]
            await asyncio.sleep(_PAUSE_S)
        if missing := sent.keys() - stopwatch.arrived.keys():
            raise RecordsMissing("the way to another region", len(sent) - len(missing), len(sent))
        return [stopwatch.arrived[value] - moment for value, moment in list(sent.items())[_WARM_UP:]]


def _called(ground: ForwardingEnvironment) -> Mapping[str, float]:
    assert ground.here.sandbox_record is not None
    return {one.notification_id: one.at for one in read_provider_log(ground.here.sandbox_record)}


async def _until(holds: Callable[[], bool]) -> None:
    """Return when it holds, or when patience ends: the caller counts what is missing."""
    until = time.monotonic() + _PATIENCE_S
    while not holds() and time.monotonic() < until:  # noqa: ASYNC110 (what it asks sets no event)
        await asyncio.sleep(0.005)
