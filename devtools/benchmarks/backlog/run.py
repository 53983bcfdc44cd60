"""The run itself: two workers of every critical role, a backlog that does not end, a critical trigger at every tick, and four events."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final

import orjson

from devtools.benchmarks.backlog.acceptance_tracker import AcceptanceTracker
from devtools.benchmarks.backlog.backlog import TOPIC, Backlog
from devtools.benchmarks.backlog.group_generations import read_generations, stability
from devtools.benchmarks.backlog.report import Event, Standard, report
from devtools.benchmarks.router.load import PEOPLE, population
from devtools.load.open_loop import SingleSender, at_rate, together
from devtools.stack import Stack
from devtools.workers import WorkerPool
from notify_streams.admin.bootstrap import bootstrap_region
from notify_streams.admin.trigger_producer import TriggerProducer
from notify_streams.errors import NotifyError
from notify_streams.records.ids import notification_id
from notify_streams.roles import app_id
from notify_streams.settings import load_settings
from notify_streams.stores.mongo import NOTIFICATIONS, Shards

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from notify_streams.settings import Settings

REGION: Final = "us"
#: Two of each, so that one's end is a failover and not an outage. The critical triggers of this run ask for push alone.
CRITICAL_ROLES: Final = ("critical", "cric_push")
STANDARD_ROLES: Final = ("standard", "push", "email")
EVERY_S: Final = 0.01
#: As the supervisor does it.
_RESTART_S: Final = 0.5
#: How long after its successor is ready a worker's end may still show.
_TRACES_S: Final = 3.0
_PATIENCE_S: Final = 60.0
_LOOK_EVERY_S: Final = 0.5
#: These people's contacts are the last that a worker learns.
_ASKED_LAST: Final = 64


async def drive(folder: Path, size: int, minutes: float, say: Callable[[str], None]) -> dict[str, Any]:
    """Start a stack of its own in `folder`, measure, and end it again whatever happens.

    Raises:
        NotifyError: a critical trigger is unaccounted for, so there is no figure; or something did not start.
    """
    stack = Stack(folder, environment={})
    pool = WorkerPool(REGION, {"NOTIFY_STACK_DIR": str(folder)}, folder / "workers")
    async with AsyncExitStack() as closing:
        closing.push_async_callback(asyncio.to_thread, stack.down, [REGION], True)
        await asyncio.to_thread(stack.up, [REGION], 1)
        settings = load_settings(REGION, environ={}, overlay=stack.settings_file(REGION))
        await bootstrap_region(settings)
        async with TriggerProducer(settings) as upstream:
            await upstream.send(population())
        closing.push_async_callback(pool.stop_all)
        run = _Run(settings, pool, say)
        await run.start_critical()
        backlog = await closing.enter_async_context(Backlog(settings, folder, size))
        await backlog.fill()
        say(f"{size} standard triggers wait")
        await run.start_standard()
        return await run.measure(backlog, 60 * minutes)


class _Run:
    """What is measured, while it is."""

    def __init__(self, settings: Settings, pool: WorkerPool, say: Callable[[str], None]) -> None:
        self._settings = settings
        self._pool = pool
        self._say = say
        assert settings.sandbox_record is not None, "the local stack has a provider sandbox"
        self._accepted = AcceptanceTracker(settings.sandbox_record)
        #: notification id -> scheduled moment, Unix seconds.
        self._due: dict[str, float] = {}
        self._events: list[Event] = []
        self._run = f"{time.time_ns():x}"

    async def start_critical(self) -> None:
        """Two workers of each critical role, which know everybody's contacts when this returns."""
        for role in (*CRITICAL_ROLES, *CRITICAL_ROLES):
            await (await self._pool.start(role)).wait_until_ready()
        until = time.monotonic() + _PATIENCE_S
        async with SingleSender(self._settings) as sender:
            for attempt in range(int(_PATIENCE_S)):
                asked = [
                    _critical(f"ask-{self._run}-{attempt}-{number}", PEOPLE - 1 - number)
                    for number in range(_ASKED_LAST)
                ]
                for _, user_id, value in asked:
                    await sender.send(TOPIC, user_id, value)
                if await self._all_accepted([identity for identity, _, _ in asked], 2.0):
                    return
                if time.monotonic() > until:
                    break
        raise NotifyError(
            f"critical triggers do not reach the provider {_PATIENCE_S:.0f} s after every worker was ready"
        )

    async def start_standard(self) -> None:
        """One worker of each standard role, yielding to the critical ones as on a region's own machine."""
        workers = [await self._pool.start(role, yields=True) for role in STANDARD_ROLES]
        await asyncio.gather(*(worker.wait_until_ready() for worker in workers))

    async def measure(self, backlog: Backlog, seconds: float) -> dict[str, Any]:
        """Send, hurt, wait for the last, and judge."""
        load = [os.getloadavg()[0]]
        began, done = time.time(), await backlog.done()
        async with SingleSender(self._settings) as sender, together() as group:
            keeping = group.create_task(backlog.keep(time.monotonic() + seconds))
            group.create_task(self._hurt(seconds))
            await self._send(sender, seconds)
            ended = time.time()
            routed = await backlog.done() - done
            load.append(os.getloadavg()[0])
            keeping.cancel()
        if not await self._all_accepted(self._due, _PATIENCE_S):
            self._say(f"critical triggers that did not arrive: {await self._where(self._accepted.missing(self._due))}")
        roles = (*CRITICAL_ROLES, *STANDARD_ROLES)
        histories = await read_generations(self._settings, [app_id(REGION, role) for role in roles])
        # Two workers of each critical role were ended: one killed, one rolled.
        groups = {
            role: stability(histories[app_id(REGION, role)], 2 * (role in CRITICAL_ROLES), began, time.time())
            for role in roles
        }
        sent = sum(began <= at <= ended for at in self._accepted.standard)
        standard = Standard(routed / (ended - began), sent / (ended - began), backlog.least)
        surroundings = {
            "seconds": ended - began,
            "critical_repeats": self._accepted.repeats,
            "machine": {"cores": os.cpu_count(), "load_average": load},
            "session_timeout_s": self._settings.broker.critical_session_timeout_s,
        }
        return report(self._due, self._accepted.critical, self._events, groups, standard, surroundings)

    async def _send(self, sender: SingleSender, seconds: float) -> None:
        clock = time.time() - time.monotonic()

        async def send(number: int, due: float) -> None:
            identity, user_id, value = _critical(f"crit-{self._run}-{number:06x}", number * 7919 % PEOPLE)
            self._due[identity] = clock + due
            await sender.send(TOPIC, user_id, value)

        await at_rate(max(1, int(seconds / EVERY_S)), EVERY_S, send)

    async def _hurt(self, seconds: float) -> None:
        """Of each critical role one worker is killed and the other rolled, evenly over the time."""
        began = time.monotonic()
        steps = [(role, number) for role in CRITICAL_ROLES for number in (signal.SIGKILL, signal.SIGTERM)]
        for place, (role, number) in enumerate(steps, 1):
            await asyncio.sleep(max(0.0, began + seconds * place / (len(steps) + 1) - time.monotonic()))
            at = time.time()
            verb = "killed" if number == signal.SIGKILL else "rolled"
            await self._pool.stop(self._pool.running(role)[0], number)
            if number == signal.SIGKILL:
                await asyncio.sleep(_RESTART_S)
            await (await self._pool.start(role)).wait_until_ready()
            self._events.append(Event(f"while a worker of {role} was {verb}", at, time.time() + _TRACES_S))
            self._say(f"{verb} a worker of {role}; its successor was ready after {time.time() - at:.1f} s")

    async def _where(self, missing: Collection[str]) -> dict[str, int]:
        """How many of these notifications stand where, by what the database says of their delivery."""
        shards = Shards(self._settings)
        await shards.start()
        try:
            found = Counter({"no notification": len(missing)})
            for shard in range(len(shards)):
                query = {"bucket": {"$in": shards.buckets(shard)}, "_id": {"$in": list(missing)}}
                async for one in shards.database(shard)[NOTIFICATIONS].find(query, {"deliveries.push": 1}):
                    push = one["deliveries"].get("push", {})
                    found[" ".join(filter(None, (push.get("state", "no push"), push.get("reason"))))] += 1
                    found["no notification"] -= 1
            return dict(+found)
        finally:
            await shards.close()

    async def _all_accepted(self, identities: Collection[str], patience_s: float) -> bool:
        """Wait for these, however many are still on their way; give up when none came for `patience_s`."""
        left, until = len(identities), time.monotonic() + patience_s
        while True:
            await asyncio.to_thread(self._accepted.read_on)
            missing = len(self._accepted.missing(identities))
            if not missing:
                return True
            if missing < left:
                left, until = missing, time.monotonic() + patience_s
            if time.monotonic() > until:
                return False
            await asyncio.sleep(_LOOK_EVERY_S)


def _critical(trigger_id: str, person: int) -> tuple[str, str, bytes]:
    """Notification id, user id, trigger."""
    user_id = f"bench-{person:06d}"
    value = {
        "id": trigger_id,
        "user_id": user_id,
        "category": "payments",
        "isCritical": True,
        "channels": ["push"],
        "template": "payment_failed",
        "data": {"amount": "12.50"},
    }
    return notification_id(trigger_id, user_id), user_id, orjson.dumps(value)
