"""`notify-streams bench latency`: routers and a baseline at one rate."""

from __future__ import annotations

import gc
import json
import os
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from devtools import subprocesses
from devtools.benchmarks.arrival_timer import ArrivalTimer
from devtools.benchmarks.latency.report import BASELINE, report
from devtools.benchmarks.latency.stream import ExpectedMessages, time_triggers, trigger_id_of
from devtools.benchmarks.region import environment, local_region, router_baseline, worker_pool
from devtools.benchmarks.router.load import TOPIC, USERS, bench_user, trigger
from devtools.load.decision_histogram import DecisionHistogram, merged, read_decisions
from devtools.load.open_loop import SingleSender
from devtools.percentiles import Percentiles, percentiles_of
from notify_streams.admin.audit.topics import TopicReader
from notify_streams.cli.output import print_progress
from notify_streams.errors import NotifyError
from notify_streams.roles import LANES, channel_topic

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from pathlib import Path

    from devtools.workers import Worker
    from notify_streams.roles import Channel
    from notify_streams.settings import Settings

#: Sent at the same rate before anything counts: connections, caches.
_WARM_UP_S: Final = 3.0
#: Before the first round, at a multiple of the rate: a broker that was just started compiles its code on the processors that are measured.
_BROKER_WARM_UP_S: Final = 20.0
_BROKER_WARM_UP_TIMES: Final = 4.0
_TIMEOUT_S: Final = 15.0
#: A router that starts must load all users' contacts. Triggers for these users, the last ones, are sent until it notifies them.
_LAST_USERS: Final = 64
_RETRY_S: Final = 2.0
_START_S: Final = 60.0
#: More triggers than a run sends: the baseline must not end by itself.
_ENDLESS: Final = 10**9


async def measure(folder: Path, rate: float, seconds: float, rounds: int) -> dict[str, Any]:
    """Start a local region in `folder`, measure, stop and wipe it.

    Raises:
        NotifyError: a trigger's message did not arrive, so there is no figure.
    """
    load = [os.getloadavg()[0]]
    async with local_region(folder) as settings:
        runs: dict[str, list[Percentiles]] = {name: [] for name in (*LANES, BASELINE)}
        decided: dict[str, list[DecisionHistogram]] = {lane: [] for lane in LANES}
        print_progress("warming up: nothing counts yet")
        async with _router(settings, folder, "standard"):
            await measure_lane(settings, False, _BROKER_WARM_UP_TIMES * rate, _BROKER_WARM_UP_S)
        for number in range(rounds):
            for name, found in runs.items():
                async with _router(settings, folder, name) as worker:
                    found.append(await measure_lane(settings, name == "critical", rate, seconds))
                    if worker is not None:
                        decided[name].append(await read_decisions(worker.url))
                one = found[-1]
                print_progress(
                    f"round {number + 1}, {name}: p50 {one.p50} p90 {one.p90} p99 {one.p99} max {one.max} ms"
                )
        load.append(os.getloadavg()[0])
        return report(runs, {lane: merged(parts) for lane, parts in decided.items()}, load)


async def measure_lane(settings: Settings, critical: bool, rate: float, seconds: float) -> Percentiles:
    """Time from Kafka's acknowledgement of a trigger until its last message is readable. A router of the lane runs."""
    topics = [channel_topic("push", critical), channel_topic("email", critical)]
    timer = ArrivalTimer(settings, topics, trigger_id_of, time.monotonic)
    async with SingleSender(settings) as sender, timer:
        timer.start()
        await _wait_until_routing(sender, timer, critical)
        await time_triggers(sender, timer, _triggers(range(int(_WARM_UP_S * rate)), critical), rate, _TIMEOUT_S)
        gc.collect()
        gc.freeze()
        triggers = _triggers(range(max(1, int(seconds * rate))), critical)
        return percentiles_of(await time_triggers(sender, timer, triggers, rate, _TIMEOUT_S))


async def _wait_until_routing(sender: SingleSender, timer: ArrivalTimer, critical: bool) -> None:
    until = time.monotonic() + _START_S
    while True:
        try:
            triggers = _triggers(range(USERS - _LAST_USERS, USERS), critical, spread=1)
            await time_triggers(sender, timer, triggers, 1_000, _RETRY_S)
        except NotifyError:
            if time.monotonic() > until:
                raise
        else:
            return


def _triggers(numbers: Iterable[int], critical: bool, spread: int = 7919) -> list[ExpectedMessages]:
    """A trigger for the user of each number times `spread`; every second one goes to two channels."""
    run = f"{time.time_ns():x}"
    found = []
    for order, number in enumerate(numbers):
        trigger_id, user_id = f"latency-{run}-{order:06x}", bench_user(number * spread)
        channels: tuple[Channel, ...] = ("push", "email") if order % 2 else ("push",)
        value = trigger(trigger_id, user_id, critical, channels, order)
        topics = frozenset(channel_topic(channel, critical) for channel in channels)
        found.append(ExpectedMessages(trigger_id, user_id, value, topics))
    return found


@asynccontextmanager
async def _router(settings: Settings, folder: Path, name: str) -> AsyncIterator[Worker | None]:
    """A worker of a lane, or the baseline (None), as a process that runs until the block ends."""
    if name != BASELINE:
        async with worker_pool(folder) as pool:
            worker = await pool.start(name)
            await worker.wait_until_ready()
            yield worker
        return
    async with TopicReader(settings) as topics:
        start = await topics.ends(TOPIC)
    async with subprocesses.running(router_baseline(_ENDLESS), env=environment(folder)) as process:
        assert process.stdin is not None
        process.stdin.write(json.dumps(start).encode())
        process.stdin.close()
        yield None
