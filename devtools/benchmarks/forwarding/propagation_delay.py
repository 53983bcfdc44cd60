"""Times single triggers: decision, hop in a region, hop between regions.

Real workers do all of it. A time begins when Kafka has acknowledged the trigger, and ends when the provider sandbox is called, or when
the record is readable in the far region's Kafka.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

from devtools.benchmarks.arrival_timer import ArrivalTimer
from devtools.benchmarks.forwarding.environment import FAR, HERE
from devtools.benchmarks.forwarding.load import TARGET, USERS, user_of
from devtools.benchmarks.forwarding.round_trips import DISTANCES_MS
from devtools.benchmarks.rates import RecordsMissing
from devtools.benchmarks.region import worker_pool
from devtools.benchmarks.router.load import TOPIC, trigger, user_uploads
from devtools.load.decision_histogram import DecisionHistogram, read_decisions
from devtools.percentiles import percentiles_of
from notify_streams.admin.audit.provider_log import read_provider_log
from notify_streams.admin.trigger_producer import TriggerProducer
from notify_streams.cli.output import print_progress
from notify_streams.records.ids import notification_id

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from devtools.benchmarks.forwarding.environment import ForwardingEnvironment
    from devtools.workers import Worker
    from notify_streams.admin.trigger_producer import Upload

ROLES: Final = ("critical", "cric_push", "forward")
#: A burst of so many is decided in batches, as under load.
BURST: Final = 4_000
_TIMEOUT_S: Final = 60.0
_WARM_UP: Final = 20
#: Between two single triggers, so that the first has no effect on the second.
_PAUSE_S: Final = 0.3


async def measure(environment: ForwardingEnvironment, count: int) -> dict[str, list[float]]:
    """Milliseconds (the decision: microseconds) by what was measured; `count` single triggers for each.

    Raises:
        RecordsMissing: a trigger did not arrive where it must.
    """
    runs: dict[str, list[float]] = {}
    async with (
        worker_pool(environment.folder, environment.environ) as pool,
        TriggerProducer(environment.here) as producer,
    ):
        for region in (HERE, FAR):
            await producer.send(user_uploads([user_of(number, region) for number in range(USERS)], region))
        async with environment.linked(DISTANCES_MS[0]):
            workers = [await pool.start(role) for role in ROLES]
            await asyncio.gather(*(worker.wait_until_ready() for worker in workers))
            _add(runs, "hop", await _inside_region(environment, producer, count))
            runs["decision"] = [await _decision_us(producer, workers[0])]
            print_progress(f"a decision {runs['decision'][0]:.0f} us, a hop {runs['hop median'][0]:.1f} ms")
        for round_trip_ms in DISTANCES_MS:
            async with environment.linked(round_trip_ms):
                _add(runs, f"{round_trip_ms}", await _between_regions(environment, producer, count, round_trip_ms))
            print_progress(f"{round_trip_ms} ms round trip: {runs[f'{round_trip_ms} median'][0]:.1f} ms")
    return runs


def _add(runs: dict[str, list[float]], name: str, seconds: list[float]) -> None:
    found = percentiles_of(seconds)
    runs[f"{name} median"], runs[f"{name} p99"] = [found.p50], [found.p99]


def _upload(run: str, number: int, region: str) -> tuple[str, Upload]:
    user_id = user_of(number * 7919, region)
    trigger_id = f"{run}-{time.time_ns():x}-{number:06x}"
    notification = notification_id(trigger_id, user_id, TOPIC.removeprefix("triggers."))
    return notification, (
        TOPIC,
        user_id,
        trigger(trigger_id, user_id, True, ["push"]),
        [("critical", b"1")],
    )


async def _inside_region(environment: ForwardingEnvironment, producer: TriggerProducer, count: int) -> list[float]:
    """Seconds from the acknowledgement to the provider call in the same region."""
    sent: dict[str, float] = {}
    for number in range(count + _WARM_UP):
        notification, upload = _upload("hop", number, HERE)
        await producer.send([upload])
        sent[notification] = time.time()
        await _wait_until(lambda wanted=notification: wanted in _provider_calls(environment))  # type: ignore[misc]
    return _seconds("the hop inside a region", sent, _provider_calls(environment))


async def _decision_us(producer: TriggerProducer, router: Worker) -> float:
    """Microseconds a decision takes in a burst, with its share of the batch's preference check, by the router's `/metrics`."""
    before = await read_decisions(router.url)
    await producer.send(_upload("burst", number, HERE)[1] for number in range(BURST))
    burst = DecisionHistogram()
    async with asyncio.timeout(_TIMEOUT_S):
        while burst.count < BURST:
            await asyncio.sleep(0.2)
            burst = await read_decisions(router.url) - before
    return burst.seconds / burst.count * 1e6


async def _between_regions(
    environment: ForwardingEnvironment, producer: TriggerProducer, count: int, round_trip_ms: int
) -> list[float]:
    """Seconds from the acknowledgement here until readable there."""
    sent: dict[bytes, float] = {}
    async with ArrivalTimer(environment.far, [TARGET]) as timer:
        timer.start()
        for number in range(count + _WARM_UP):
            upload = _upload(f"far-{round_trip_ms}", number, FAR)[1]
            value = upload[2] or b""
            await producer.send([upload])
            sent[value] = time.time()
            await _wait_until(lambda wanted=value: wanted in timer.arrived[TARGET])  # type: ignore[misc]
            await asyncio.sleep(_PAUSE_S)
        return _seconds("the hop to another region", sent, timer.arrived[TARGET])


def _seconds(what: str, sent: Mapping[Any, float], arrived: Mapping[Any, float]) -> list[float]:
    if missing := sent.keys() - arrived.keys():
        raise RecordsMissing(what, len(sent) - len(missing), len(sent))
    return [arrived[one] - moment for one, moment in list(sent.items())[_WARM_UP:]]


def _provider_calls(environment: ForwardingEnvironment) -> Mapping[str, float]:
    assert environment.here.sandbox_record is not None
    return {one.notification_id: one.at for one in read_provider_log(environment.here.sandbox_record)}


async def _wait_until(holds: Callable[[], bool]) -> None:
    """Return when it holds, or after the time-out: the caller counts what is missing."""
    until = time.monotonic() + _TIMEOUT_S
    while not holds() and time.monotonic() < until:  # noqa: ASYNC110 (there is no event to wait for)
        await asyncio.sleep(0.005)
