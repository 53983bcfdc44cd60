"""At each failpoint and seed: a worker is killed there under load, started again, and the books must close."""

from __future__ import annotations

import asyncio
import random
import signal
from typing import TYPE_CHECKING, Any, Final

from notify_streams.failpoints import NAMES
from notify_streams.roles import CHANNEL_ROLES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from devtools.chaos.environment import ChaosEnvironment
    from devtools.workers import Worker
    from notify_streams.failpoints import Name

_PROVIDER_POINTS: Final = ("before_provider", "after_provider")
_TRIGGERS: Final = 300
_DEATH_S: Final = 60.0
#: What one worker can have in flight: its waiting room and one flush, with up to three channels a trigger.
_CHANNELS: Final = 3


async def failpoint_drill(ground: ChaosEnvironment, seeds: int, names: Sequence[Name] = NAMES) -> list[dict[str, Any]]:
    """One result for each failpoint and seed: ``{"name", "seed", "reached", "holds", "duplicates", ...}``."""
    pool = ground.pool
    for role in ("registry", "critical", "standard", *CHANNEL_ROLES):
        await pool.start(role)
    await asyncio.gather(*(worker.wait_until_ready() for worker in pool.workers.values()))
    await ground.populate(300)
    results = []
    for name in names:
        for seed in range(seeds):
            results.append(await _one(ground, name, seed))
            ground.say(
                f"{name} seed {seed}: {'holds' if results[-1]['holds'] else 'DOES NOT HOLD'}, {results[-1]['note']}"
            )
    return results


async def _one(ground: ChaosEnvironment, name: Name, seed: int) -> dict[str, Any]:
    pool = ground.pool
    draw = random.Random(f"{name}-{seed}")
    before = await ground.judge()
    role = "push" if name in _PROVIDER_POINTS else "standard"
    for worker in pool.running(role):
        await pool.stop(worker)
    armed = await pool.start(role, f"{name}=kill@{draw.randint(1, 5)}")
    await armed.wait_until_ready()
    sending = asyncio.create_task(_load(ground, armed, draw))
    try:
        await asyncio.wait_for(armed.process.wait(), _DEATH_S)
    except TimeoutError:
        await pool.stop(armed)
    reached = armed.process.returncode == -signal.SIGKILL
    pool.workers.pop(armed.name, None)
    await (await pool.start(role)).wait_until_ready()
    await sending
    await ground.drained()
    after = await ground.judge()
    duplicates = after["duplicates"] - before["duplicates"]
    bound = _CHANNELS * (ground.settings.outbox.waiting_records + ground.settings.outbox.flush_records)
    repeats = after["provider_repeats"] - before["provider_repeats"]
    return {
        "name": name,
        "seed": seed,
        "reached": reached,
        "holds": bool(reached and after["holds"] and duplicates <= bound),
        "duplicates": duplicates,
        "provider_repeats": repeats,
        "differences": after["differences"] + after["in_flight"],
        "note": f"{duplicates} published twice, {repeats} sent twice and marked"
        if reached
        else "the failpoint was never reached",
    }


async def _load(ground: ChaosEnvironment, armed: Worker, draw: random.Random) -> None:
    """Send until the worker is gone: how many triggers it takes to its failpoint is its own affair."""
    while True:
        await ground.send(_TRIGGERS, draw)
        if not armed.alive:
            return
