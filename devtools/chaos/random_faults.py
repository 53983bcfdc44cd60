"""The storm: for some minutes workers are killed, stopped, continued and added at random, database primaries and the broker as well."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from devtools.chaos.primary_failover import fail_primary
from notify_streams.errors import NotifyError

if TYPE_CHECKING:
    from collections.abc import Callable

    from devtools.chaos.environment import ChaosEnvironment

_WORKERS: Final = 3
_PAUSE_S: Final = (2.0, 6.0)
_PRIMARY_EVERY_S: Final = 60.0
_RATE: Final = 200


async def random_faults(
    ground: ChaosEnvironment, minutes: float, seed: int, broker_restarts: int = 2
) -> dict[str, Any]:
    """Run it; returns ``{"faults", "holds", ...}``. The pool of `failpoint_drill` must be at work."""
    draw = random.Random(f"storm-{seed}")
    pool = ground.pool
    while len(pool.running("standard")) < _WORKERS:
        await (await pool.start("standard")).wait_until_ready()
    ground.say(f"storm: {minutes:g} minutes, {_RATE} triggers/s, {_WORKERS} standard workers")
    began = time.monotonic()
    ends = began + 60 * minutes
    faults = _Faults(ground.say, began)
    before = await ground.judge()
    sending = asyncio.create_task(ground.send(int(_RATE * 60 * minutes), draw, rate=_RATE))
    services = asyncio.create_task(_hurt_services(ground, ends, broker_restarts, faults, began))
    while time.monotonic() < ends:
        await asyncio.sleep(draw.uniform(*_PAUSE_S))
        with suppress(NotifyError):
            faults.note(await _hurt_a_worker(ground, draw))
    await sending
    await services
    for worker in pool.running("standard"):
        worker.signal(signal.SIGCONT)
    ground.say("the storm is over: waiting until everything is worked off")
    await ground.drained()
    after = await ground.judge()
    return {
        "faults": faults.noted,
        "holds": after["holds"],
        "duplicates": after["duplicates"] - before["duplicates"],
        "provider_repeats": after["provider_repeats"] - before["provider_repeats"],
        "differences": after["differences"] + after["in_flight"],
        "sent": int(_RATE * 60 * minutes),
    }


class _Faults:
    """What was done, and when; each is said at once."""

    def __init__(self, say: Callable[[str], None], began: float) -> None:
        self._say = say
        self._began = began
        self.noted: list[dict[str, Any]] = []

    def note(self, what: str) -> None:
        at_s = round(time.monotonic() - self._began, 1)
        self.noted.append({"at_s": at_s, "what": what})
        self._say(f"{at_s:6.1f} s  {what}")


async def _hurt_a_worker(ground: ChaosEnvironment, draw: random.Random) -> str:
    pool = ground.pool
    standing = pool.running("standard")
    if len(standing) < _WORKERS:
        return f"added {(await pool.start('standard')).name}"
    worker = draw.choice(standing)
    kind = draw.choice(("kill", "stop", "term"))
    if worker.paused:
        worker.signal(signal.SIGCONT)
        return f"continued {worker.name}"
    if kind == "stop":
        worker.signal(signal.SIGSTOP)
        return f"stopped {worker.name}"
    await pool.stop(worker, signal.SIGKILL if kind == "kill" else signal.SIGTERM)
    return f"{'killed' if kind == 'kill' else 'terminated'} {worker.name}"


async def _hurt_services(
    ground: ChaosEnvironment, ends: float, broker_restarts: int, faults: _Faults, began: float
) -> None:
    region = ground.stack.region("us")
    total_s = ends - began
    restarts = [began + total_s * (number + 1) / (broker_restarts + 1) for number in range(broker_restarts)]
    next_primary, number = began + _PRIMARY_EVERY_S, 0
    while time.monotonic() < ends:
        await asyncio.sleep(1.0)
        now = time.monotonic()
        if restarts and now >= restarts[0]:
            restarts.pop(0)
            await asyncio.to_thread(region.kafka.stop)
            await asyncio.to_thread(region.kafka.start)
            faults.note("restarted the broker")
        elif now >= next_primary:
            next_primary += _PRIMARY_EVERY_S
            shard = region.shards[number % len(region.shards)]
            number += 1
            faults.note(await asyncio.to_thread(fail_primary, shard))
