"""Kills a worker at each failpoint under load, restarts it, and audits."""

from __future__ import annotations

import asyncio
import random
import signal
from typing import TYPE_CHECKING, Any, Final

from notify_streams.failpoints import DELIVERY_NAMES, WORKER_NAMES
from notify_streams.roles import CHANNEL_ROLES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from devtools.chaos.environment import ChaosEnvironment
    from devtools.workers import Worker
    from notify_streams.failpoints import WorkerName

#: What the sandbox must do for a worker to reach a failpoint: slow answers are parked, refused calls get a timer.
_FAULTS: Final[dict[str, dict[str, Any]]] = {
    **{name: {"latency_ms": 1_500} for name in ("after_park", "before_resolve", "after_resolve")},
    "after_timer_claim": {"fail": {"status": 503, "share": 0.2}},
}
#: A worker passes these once at its start.
_ONCE: Final = ("before_token", "after_token")
_USERS: Final = 300
_TRIGGERS: Final = 300
_KILLED_S: Final = 60.0
_CHANNELS: Final = 3


async def kill_at_failpoints(
    environment: ChaosEnvironment, seeds: int, names: Sequence[WorkerName] = WORKER_NAMES
) -> list[dict[str, Any]]:
    """One result for each failpoint and seed: ``{"name", "seed", "reached", "holds", "duplicates", ...}``."""
    pool = environment.pool
    for role in ("registry", "critical", "standard", *CHANNEL_ROLES):
        await pool.start(role)
    await asyncio.gather(*(worker.wait_until_ready() for worker in pool.workers.values()))
    await environment.sign_up_users(_USERS)
    results = []
    for name in names:
        for seed in range(seeds):
            result = await _kill_at(environment, name, seed)
            outcome = "holds" if result["holds"] else "DOES NOT HOLD"
            environment.report(f"{name} seed {seed}: {outcome}, {result['note']}")
            results.append(result)
    return results


async def _kill_at(environment: ChaosEnvironment, name: WorkerName, seed: int) -> dict[str, Any]:
    pool = environment.pool
    draw = random.Random(f"{name}-{seed}")
    before = await environment.audit()
    role = "push" if name in DELIVERY_NAMES else "standard"
    for worker in pool.running(role):
        await pool.stop(worker)
    await environment.inject_faults(_FAULTS.get(name))
    armed = await pool.start(role, f"{name}=kill@{1 if name in _ONCE else draw.randint(1, 5)}")
    if name not in _ONCE:
        await armed.wait_until_ready()
    sending = asyncio.create_task(_send_until_ended(environment, armed, draw))
    try:
        await asyncio.wait_for(armed.process.wait(), _KILLED_S)
    except TimeoutError:
        await pool.stop(armed)
    reached = armed.process.returncode == -signal.SIGKILL
    pool.workers.pop(armed.name, None)
    await environment.inject_faults(None)
    await (await pool.start(role)).wait_until_ready()
    await sending
    await environment.wait_until_drained()
    after = await environment.audit()
    duplicates = after["duplicates"] - before["duplicates"]
    repeats = after["provider_repeats"] - before["provider_repeats"]
    # What a router can have in flight: its flush queue and one flush, with up to three channel messages for each trigger.
    outbox = environment.settings.outbox
    bound = _CHANNELS * (outbox.waiting_records + outbox.flush_records)
    note = f"{duplicates} published twice, {repeats} sent twice and marked"
    return {
        "name": name,
        "seed": seed,
        "reached": reached,
        "holds": bool(reached and after["holds"] and duplicates <= bound),
        "duplicates": duplicates,
        "provider_repeats": repeats,
        "differences": after["differences"] + after["in_flight"],
        "note": note if reached else "the failpoint was not reached",
    }


async def _send_until_ended(environment: ChaosEnvironment, worker: Worker, draw: random.Random) -> None:
    """Send triggers until the worker has ended: the number that it needs to reach its failpoint is not known."""
    while True:
        await environment.send_triggers(_TRIGGERS, draw)
        if not worker.alive:
            return
