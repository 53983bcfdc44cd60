"""Random faults under load, of workers, shard primaries and the broker."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from devtools.chaos.primary_failover import fail_primary
from notify_streams.errors import NotifyError
from notify_streams.roles import CHANNEL_ROLES

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from devtools.chaos.environment import ChaosEnvironment

#: Workers of the role `standard`; of each channel role there is one.
_WORKERS: Final = 3
_PAUSE_S: Final = (2.0, 6.0)
_PRIMARY_EVERY_S: Final = 60.0
_BROKER_RESTARTS: Final = 2


async def random_faults(
    environment: ChaosEnvironment, minutes: float, seed: int, rate: int, page: AbstractAsyncContextManager[object]
) -> dict[str, Any]:
    """Returns ``{"faults", "holds", ...}``. The workers that `kill_at_failpoints` started must run.

    Args:
        rate: triggers a second.
        page: entered while there are faults.
    """
    draw = random.Random(f"random-faults-{seed}")
    pool = environment.pool
    count = int(rate * 60 * minutes)
    while len(pool.running("standard")) < _WORKERS:
        await (await pool.start("standard")).wait_until_ready()
    environment.report(f"random faults: {minutes:g} minutes, {rate} triggers/s, {_WORKERS} standard workers")
    started = time.monotonic()
    end = started + 60 * minutes
    faults = _FaultLog(environment.report, started)
    before = await environment.audit()
    async with page:
        sending = asyncio.create_task(environment.send_triggers(count, draw, rate=rate))
        services = asyncio.create_task(_service_faults(environment, started, end, faults))
        while time.monotonic() < end:
            await asyncio.sleep(draw.uniform(*_PAUSE_S))
            with suppress(NotifyError):
                faults.add(await _worker_fault(environment, draw))
        await sending
        await services
    for role in ("standard", *CHANNEL_ROLES):
        for worker in pool.running(role):
            worker.signal(signal.SIGCONT)
        if not pool.running(role):
            await pool.start(role)
    environment.report("no more faults: waiting until everything is processed")
    await environment.wait_until_drained()
    after = await environment.audit()
    return {
        "faults": faults.entries,
        "holds": after["holds"],
        "duplicates": after["duplicates"] - before["duplicates"],
        "provider_repeats": after["provider_repeats"] - before["provider_repeats"],
        "differences": after["differences"] + after["in_flight"],
        "sent": count,
    }


class _FaultLog:
    """Keeps and reports each fault with its time."""

    def __init__(self, report: Callable[[str], None], started: float) -> None:
        self._report = report
        self._started = started
        self.entries: list[dict[str, Any]] = []

    def add(self, what: str) -> None:
        at_s = round(time.monotonic() - self._started, 1)
        self.entries.append({"at_s": at_s, "what": what})
        self._report(f"{at_s:6.1f} s  {what}")


async def _worker_fault(environment: ChaosEnvironment, draw: random.Random) -> str:
    pool = environment.pool
    role = draw.choice(("standard", draw.choice(CHANNEL_ROLES)))
    running = pool.running(role)
    if len(running) < (_WORKERS if role == "standard" else 1):
        return f"added {(await pool.start(role)).name}"
    worker = draw.choice(running)
    kind = draw.choice(("kill", "pause", "terminate"))
    if worker.paused:
        worker.signal(signal.SIGCONT)
        return f"resumed {worker.name}"
    if kind == "pause":
        worker.signal(signal.SIGSTOP)
        return f"paused {worker.name}"
    await pool.stop(worker, signal.SIGKILL if kind == "kill" else signal.SIGTERM)
    return f"{'killed' if kind == 'kill' else 'terminated'} {worker.name}"


async def _service_faults(environment: ChaosEnvironment, started: float, end: float, faults: _FaultLog) -> None:
    """Restart the broker at regular intervals, and kill the shards' primaries in turn, one a minute."""
    region = environment.stack.region("us")
    interval_s = (end - started) / (_BROKER_RESTARTS + 1)
    restarts = [started + interval_s * number for number in range(1, _BROKER_RESTARTS + 1)]
    next_primary, number = started + _PRIMARY_EVERY_S, 0
    while time.monotonic() < end:
        await asyncio.sleep(1.0)
        now = time.monotonic()
        if restarts and now >= restarts[0]:
            restarts.pop(0)
            await asyncio.to_thread(region.kafka.stop)
            await asyncio.to_thread(region.kafka.start)
            faults.add("restarted the broker")
        elif now >= next_primary:
            next_primary += _PRIMARY_EVERY_S
            shard = region.shards[number % len(region.shards)]
            number += 1
            faults.add(await asyncio.to_thread(fail_primary, shard))
