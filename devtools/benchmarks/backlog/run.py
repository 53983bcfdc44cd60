"""Runs `bench backlog`: a steady critical load, a full backlog, four worker ends."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from devtools.benchmarks.backlog.acceptance_tracker import AcceptanceTracker
from devtools.benchmarks.backlog.backlog import Backlog
from devtools.benchmarks.backlog.group_generations import read_generations, stability
from devtools.benchmarks.backlog.report import StandardLoad, WorkerEvent, report
from devtools.benchmarks.region import REGION, local_region, worker_pool
from devtools.benchmarks.router.load import TOPIC, USERS, bench_user, trigger
from devtools.load.open_loop import SingleSender, at_rate, task_group
from notify_streams.cli.output import print_progress
from notify_streams.delivery.attempt_reader import AttemptReader
from notify_streams.errors import NotifyError
from notify_streams.records.ids import notification_id
from notify_streams.roles import app_id
from notify_streams.stores.mongo import NOTIFICATIONS, Shards

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from devtools.workers import WorkerPool
    from notify_streams.settings import Settings

#: Two workers of each, so that the end of one is a failover, not an outage. The critical triggers ask for push only.
CRITICAL_ROLES: Final = ("critical", "cric_push")
STANDARD_ROLES: Final = ("standard", "push", "email")
#: Before a killed worker is replaced, as the supervisor does it.
_RESTART_S: Final = 0.5
#: How long after its successor is ready a worker's end may still delay triggers.
_AFTER_EFFECT_S: Final = 3.0
_TIMEOUT_S: Final = 60.0
_POLL_S: Final = 0.5
_STORE_S: Final = 10.0
#: A worker loads these users' contacts last.
_LAST_USERS: Final = 64


async def run(folder: Path, size: int, minutes: float, rate: float) -> dict[str, Any]:
    """Start a local region in `folder`, measure with `rate` critical triggers a second, stop and wipe it.

    Raises:
        NotifyError: a critical trigger is unaccounted for, so there is no figure; or something did not start.
    """
    async with local_region(folder) as settings, worker_pool(folder) as pool:
        bench = _Bench(settings, pool, rate)
        await bench.start_critical()
        async with Backlog(settings, folder, size) as backlog:
            await backlog.fill()
            print_progress(f"{size} standard triggers wait")
            await bench.start_standard()
            return await bench.measure(backlog, 60 * minutes)


class _Bench:
    """The running benchmark: its workers, the triggers sent, the events."""

    def __init__(self, settings: Settings, pool: WorkerPool, rate: float) -> None:
        self._settings = settings
        self._pool = pool
        self._rate = rate
        assert settings.sandbox_record is not None, "the local stack has a provider sandbox"
        self._accepted = AcceptanceTracker(settings.sandbox_record)
        #: Notification id -> scheduled moment, Unix seconds.
        self._due: dict[str, float] = {}
        self._events: list[WorkerEvent] = []
        self._run = f"{time.time_ns():x}"

    async def start_critical(self) -> None:
        """Start two workers of each critical role; returns when they have loaded every user's contacts."""
        for role in (*CRITICAL_ROLES, *CRITICAL_ROLES):
            await (await self._pool.start(role)).wait_until_ready()
        until = time.monotonic() + _TIMEOUT_S
        attempt = 0
        async with SingleSender(self._settings) as sender:
            while time.monotonic() < until:
                sent = [
                    await self._send(sender, f"start-{self._run}-{attempt}-{number}", USERS - 1 - number)
                    for number in range(_LAST_USERS)
                ]
                if await self._all_accepted(sent, 2.0):
                    return
                attempt += 1
        raise NotifyError(
            f"critical triggers do not reach the provider {_TIMEOUT_S:.0f} s after every worker was ready"
        )

    async def start_standard(self) -> None:
        """Start one worker of each standard role, with a lower priority than the critical ones."""
        workers = [await self._pool.start(role, yields=True) for role in STANDARD_ROLES]
        await asyncio.gather(*(worker.wait_until_ready() for worker in workers))

    async def measure(self, backlog: Backlog, seconds: float) -> dict[str, Any]:
        """Send critical triggers for `seconds` while workers end; wait for the last acceptance; report."""
        load = [os.getloadavg()[0]]
        began, done = time.time(), await backlog.done()
        async with SingleSender(self._settings) as sender, task_group() as group:
            keeping = group.create_task(backlog.keep(time.monotonic() + seconds))
            group.create_task(self._end_workers(seconds))
            await self._send_steadily(sender, seconds)
            ended = time.time()
            routed = await backlog.done() - done
            load.append(os.getloadavg()[0])
            keeping.cancel()
        if not await self._all_accepted(self._due, _TIMEOUT_S):
            states = await self._states(self._accepted.missing(self._due))
            print_progress(f"critical triggers that did not arrive: {states}")
        roles = (*CRITICAL_ROLES, *STANDARD_ROLES)
        histories = await read_generations(self._settings, [app_id(REGION, role) for role in roles])
        # Two workers of each critical role were ended: one killed, one rolled.
        groups = {
            role: stability(histories[app_id(REGION, role)], 2 * (role in CRITICAL_ROLES), began, time.time())
            for role in roles
        }
        sent = sum(began <= at <= ended for at in self._accepted.standard)
        standard = StandardLoad(routed / (ended - began), sent / (ended - began), backlog.least)
        return report(
            self._due,
            self._accepted.critical,
            self._events,
            groups,
            standard,
            seconds=ended - began,
            rate=self._rate,
            critical_repeats=self._accepted.repeats,
            machine={"load_average": load},
            session_timeout_s=self._settings.broker.critical_session_timeout_s,
        )

    async def _send(self, sender: SingleSender, trigger_id: str, number: int, due: float | None = None) -> str:
        """Send a critical trigger; returns its notification id. With `due` (Unix seconds) it is accounted for."""
        user_id = bench_user(number)
        notification = notification_id(trigger_id, user_id, TOPIC.removeprefix("triggers."))
        if due is not None:
            self._due[notification] = due
        await sender.send(TOPIC, user_id, trigger(trigger_id, user_id, True, ["push"]))
        return notification

    async def _send_steadily(self, sender: SingleSender, seconds: float) -> None:
        clock = time.time() - time.monotonic()

        async def send(number: int, due: float) -> None:
            await self._send(sender, f"crit-{self._run}-{number:06x}", number * 7919, clock + due)

        await at_rate(max(1, int(seconds * self._rate)), 1 / self._rate, send)

    async def _end_workers(self, seconds: float) -> None:
        """Kill one worker of each critical role and roll the other, evenly over the time."""
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
            self._events.append(WorkerEvent(f"while a worker of {role} was {verb}", at, time.time() + _AFTER_EFFECT_S))
            print_progress(f"{verb} a worker of {role}; its successor was ready after {time.time() - at:.1f} s")

    async def _states(self, missing: Collection[str]) -> dict[str, int]:
        """How many of these notifications have which push delivery state in MongoDB."""
        found = Counter({"no notification": len(missing)})
        async with Shards(self._settings) as shards:
            for shard in range(len(shards)):
                query = {"bucket": {"$in": shards.buckets(shard)}, "_id": {"$in": list(missing)}}
                documents = await shards.database(shard)[NOTIFICATIONS].find(query).to_list()
                await AttemptReader(shards, _STORE_S).add_status(documents)
                for one in documents:
                    push = one["deliveries"].get("push", {})
                    found[" ".join(filter(None, (push.get("state", "no push"), push.get("reason"))))] += 1
                    found["no notification"] -= 1
        return dict(+found)

    async def _all_accepted(self, notification_ids: Collection[str], timeout_s: float) -> bool:
        """Wait until all are accepted; False when none was accepted for `timeout_s`."""
        left, until = len(notification_ids), time.monotonic() + timeout_s
        while True:
            await asyncio.to_thread(self._accepted.read_on)
            missing = len(self._accepted.missing(notification_ids))
            if not missing:
                return True
            if missing < left:
                left, until = missing, time.monotonic() + timeout_s
            if time.monotonic() > until:
                return False
            await asyncio.sleep(_POLL_S)
