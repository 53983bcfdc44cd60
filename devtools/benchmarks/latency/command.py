"""`notify-streams bench latency`: in each round a standard worker, a critical one and the bare loop, one after the other, at one rate."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import platform
import sys
import time
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import orjson

from devtools.benchmarks.latency.report import REFERENCE, report
from devtools.benchmarks.latency.stream import SOURCE, Asked, Stream
from devtools.benchmarks.results import conclude, line_of, say
from devtools.benchmarks.router.load import PEOPLE, population
from devtools.load.decision_histogram import DecisionHistogram, read_decisions, together
from devtools.percentiles import Percentiles, percentiles_of
from devtools.stack import Stack, stack_folder
from devtools.workers import WorkerPool
from notify_streams.admin.audit.topics import TopicReader
from notify_streams.admin.bootstrap import bootstrap_region
from notify_streams.admin.trigger_producer import TriggerProducer
from notify_streams.errors import NotifyError
from notify_streams.roles import LANES, channel_topic
from notify_streams.settings import Settings, load_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from devtools.workers import Worker

_REGION: Final = "us"
#: Sent at the same rate before anything counts: connections, caches.
_WARM_UP_S: Final = 3.0
#: Before the first round, at a multiple of the rate: a broker as young as its stack compiles itself on the processors that are measured.
_BROKERS_WARM_UP_S: Final = 20.0
_BROKERS_WARM_UP_TIMES: Final = 4.0
_PATIENCE_S: Final = 15.0
#: A contestant that starts has still to learn everybody's contacts: it is asked again and again until it notifies these, the last ones.
_ASKED_LAST: Final = 64
_ASK_EVERY_S: Final = 2.0
_START_S: Final = 60.0
#: More than a run ever sends: the bare loop is ended, it does not end.
_NEVER: Final = 10**9


@click.command("latency")
@click.option("--rate", default=300.0, show_default=True, type=click.FloatRange(min=1), help="Triggers a second.")
@click.option(
    "--seconds", default=20.0, show_default=True, type=click.FloatRange(min=0.1), help="Measured, for each contestant."
)
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1))
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def latency(rate: float, seconds: float, rounds: int, as_json: bool) -> None:
    """Measure a router's latency at a steady rate, beside the same work as a bare loop."""
    folder = stack_folder() / "bench-latency"
    conclude(measure(folder, rate, seconds, rounds, say), as_json, line_of)


async def measure(folder: Path, rate: float, seconds: float, rounds: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Start a stack of its own in `folder`, measure, and end it again whatever happens.

    Raises:
        NotifyError: a trigger's message did not come, so there is no figure.
    """
    stack = Stack(folder, environment={})
    load = [os.getloadavg()[0]]
    try:
        await asyncio.to_thread(stack.up, [_REGION], 1)
        settings = load_settings(_REGION, environ={}, overlay=stack.settings_file(_REGION))
        await bootstrap_region(settings)
        async with TriggerProducer(settings) as upstream:
            await upstream.send(population())
        runs: dict[str, list[Percentiles]] = {name: [] for name in (*LANES, REFERENCE)}
        decided: dict[str, list[DecisionHistogram]] = {lane: [] for lane in LANES}
        say("warming up: nothing counts yet")
        async with _worker(settings, folder, "standard"):
            await _one(settings, False, _BROKERS_WARM_UP_TIMES * rate, _BROKERS_WARM_UP_S)
        for number in range(rounds):
            for name, spreads in runs.items():
                async with _worker(settings, folder, name) as worker:
                    spreads.append(await _one(settings, name == "critical", rate, seconds))
                    if worker is not None:
                        decided[name].append(await read_decisions(worker.url))
                found = spreads[-1]
                say(f"round {number + 1}, {name}: p50 {found.p50} p90 {found.p90} p99 {found.p99} max {found.max} ms")
        load.append(os.getloadavg()[0])
        machine = {"cores": os.cpu_count(), "python": platform.python_version(), "load_average": load}
        names = ("faust-streaming", "aiokafka", "pymongo", "msgspec")
        decisions = {lane: together(parts) for lane, parts in decided.items()}
        return report(runs, decisions, machine, {name: version(name) for name in names})
    finally:
        await asyncio.to_thread(stack.down, [_REGION], True)


async def _one(settings: Settings, critical: bool, rate: float, seconds: float) -> Percentiles:
    async with Stream(settings, [channel_topic("push", critical), channel_topic("email", critical)]) as stream:
        await _started(stream, critical)
        await stream.timed(_triggers(_crowd(_WARM_UP_S * rate), critical), rate, _PATIENCE_S)
        gc.collect()
        gc.freeze()
        timed = await stream.timed(_triggers(_crowd(seconds * rate), critical), rate, _PATIENCE_S)
    return percentiles_of([one.readable - one.acknowledged for one in timed])


def _crowd(count: float) -> list[int]:
    """Somebody else each time, in every bucket, until all had their turn."""
    return [number * 7919 % PEOPLE for number in range(max(1, int(count)))]


async def _started(stream: Stream, critical: bool) -> None:
    last = [PEOPLE - 1 - number for number in range(_ASKED_LAST)]
    until = time.monotonic() + _START_S
    while True:
        try:
            await stream.timed(_triggers(last, critical), 1_000, _ASK_EVERY_S)
        except NotifyError:
            if time.monotonic() > until:
                raise
        else:
            return


def _triggers(people: Iterable[int], critical: bool) -> list[Asked]:
    """One for each; every second one goes to two channels."""
    run = f"{time.time_ns():x}"
    found = []
    for number, person in enumerate(people):
        identity, user_id = f"latency-{run}-{number:06x}", f"bench-{person:06d}"
        channels = ("push", "email") if number % 2 else ("push",)
        value = {
            "id": identity,
            "user_id": user_id,
            "category": "payments",
            "isCritical": critical,
            "channels": channels,
            "template": "payment_received",
            "data": {"amount": "12.50", "order": str(number)},
        }
        topics = frozenset(channel_topic("push" if one == "push" else "email", critical) for one in channels)
        found.append(Asked(identity, user_id, orjson.dumps(value), topics))
    return found


@asynccontextmanager
async def _worker(settings: Settings, folder: Path, name: str) -> AsyncIterator[Worker | None]:
    """The contestant as a process, reading from here on or from where it stood; the bare loop has no views."""
    environ = {"NOTIFY_STACK_DIR": str(folder)}
    if name != REFERENCE:
        pool = WorkerPool(_REGION, environ, folder / "workers")
        try:
            worker = await pool.start(name)
            await worker.wait_until_ready()
            yield worker
        finally:
            await pool.stop_all()
        return
    async with TopicReader(settings) as topics:
        start = await topics.ends(SOURCE)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "devtools.benchmarks.router.baseline", _REGION, str(_NEVER)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        env={**os.environ, **environ},
    )
    try:
        assert process.stdin is not None
        process.stdin.write(json.dumps(start).encode())
        process.stdin.close()
        yield None
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
