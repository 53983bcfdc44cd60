"""`notify-streams bench rebalance`: pauses of partitions while routers restart.

Members of the group are dynamic (a worker that ends leaves the group, and its successor joins) or static (`broker.instance`: the
partitions wait for its return). A partition makes progress when a message of it is in the topic of its channel, by the broker's clock.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, Literal

from devtools.benchmarks.backlog.group_generations import read_generations
from devtools.benchmarks.rates import RecordsMissing
from devtools.benchmarks.region import REGION, local_region, worker_pool
from devtools.benchmarks.results import Figure, figure, percentile_figures, report
from devtools.benchmarks.router.load import TOPIC, bench_users, trigger
from devtools.load.open_loop import SingleSender, at_rate, task_group
from devtools.percentiles import percentiles_of
from notify_streams.admin.audit.topics import TopicReader
from notify_streams.cli.output import print_progress
from notify_streams.records.partitioner import bucket_of
from notify_streams.roles import app_id

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from devtools.workers import Worker, WorkerPool
    from notify_streams.settings import Settings

Members = Literal["dynamic", "static"]
#: Start and end of a restart, Unix seconds.
Span = tuple[float, float]
ROLE: Final = "standard"
CHANNEL: Final = "push"
#: After a successor is ready, until the next worker ends.
_SETTLE_S: Final = 4.0
_WAIT_S: Final = 60.0


async def measure(
    folder: Path, workers: int, partitions: int, rate: float, rounds: int, number: signal.Signals
) -> dict[str, Any]:
    load = [os.getloadavg()[0]]
    orders: tuple[tuple[Members, ...], ...] = ("dynamic", "static"), ("static", "dynamic")
    found: dict[Members, list[Rolling]] = {"dynamic": [], "static": []}
    for turn in range(rounds):
        for members in orders[turn % 2]:
            async with local_region(folder, partitions) as settings, worker_pool(folder) as pool:
                run = _Run(settings, pool, members, rate)
                found[members].append(await run.measure(workers, number))
            print_progress(
                f"round {turn + 1} of {rounds}, {members} members: {max(found[members][-1].pauses):.2f} s at most"
            )
    return report(
        [line for members, rolls in found.items() for line in figures(members, rolls)],
        machine={"load_average": [*load, os.getloadavg()[0]]},
        workers=workers,
        partitions=partitions,
        seconds_between_triggers_of_a_partition=partitions / rate,
        signal=number.name,
    )


@dataclass(frozen=True, slots=True)
class Rolling:
    """One rolling restart."""

    #: Of each partition in each restart, in seconds.
    pauses: Sequence[float]
    #: From a signal until the successor was ready.
    restarts_s: Sequence[float]
    rebalances: int


def figures(members: Members, rolls: Sequence[Rolling]) -> list[Figure]:
    """Pauses over all partitions and restarts of all rounds."""
    pauses = [pause for roll in rolls for pause in roll.pauses]
    restarts = [took for roll in rolls for took in roll.restarts_s]
    return [
        *percentile_figures(f"{members} members: pause of a partition", percentiles_of(pauses)),
        figure(f"{members} members: mean pause", 1000 * sum(pauses) / len(pauses), "ms"),
        figure(f"{members} members: paused for over a second", 100 * sum(one > 1 for one in pauses) / len(pauses), "%"),
        figure(f"{members} members: worker ready again after, median", percentiles_of(restarts).p50, "ms"),
        figure(
            f"{members} members: rebalances of a restart",
            sum(one.rebalances for one in rolls) / len(restarts),
            "rebalances",
        ),
    ]


def pauses(progress: Mapping[int, Sequence[float]], spans: Sequence[Span]) -> list[float]:
    """The longest time without progress of each partition in each span.

    Args:
        progress: partition → moments of progress. Each partition has work all the time.
    """
    found = []
    for start, end in spans:
        for moments in progress.values():
            points = [start, *sorted(moment for moment in moments if start < moment < end), end]
            found.append(max(after - before for before, after in pairwise(points)))
    return found


class _Run:
    """A rolling restart under load, in a region of its own."""

    def __init__(self, settings: Settings, pool: WorkerPool, members: Members, rate: float) -> None:
        self._settings = settings
        self._pool = pool
        self._members = members
        self._rate = rate
        self._sent = 0
        by_bucket: dict[int, list[str]] = defaultdict(list)
        for user_id in bench_users():
            by_bucket[bucket_of(user_id, settings.partitions)].append(user_id)
        self._users = [by_bucket[bucket] for bucket in range(settings.partitions)]

    async def measure(self, workers: int, number: signal.Signals) -> Rolling:
        """Start `workers`, then restart each.

        Raises:
            RecordsMissing: a trigger was not routed, so no pause would be true.
        """
        names = [f"{ROLE}-{place}" for place in range(workers)]
        started = [await self._start(name) for name in names]
        await asyncio.gather(*(worker.wait_until_ready() for worker in started))
        began = datetime.now(UTC)
        async with SingleSender(self._settings) as sender, task_group() as group:
            sending = group.create_task(self._send(sender))
            await asyncio.sleep(_SETTLE_S)
            first, spans, restarts_s = time.time(), [], []
            for instance, worker in zip(names, started, strict=True):
                start = time.time()
                await self._pool.stop(worker, number)
                await (await self._start(instance, worker)).wait_until_ready()
                restarts_s.append(time.time() - start)
                await asyncio.sleep(_SETTLE_S)
                spans.append((start, time.time()))
            sending.cancel()
        progress = await self._progress(began)
        history = (await read_generations(self._settings, [app_id(REGION, ROLE)])).popitem()[1]
        return Rolling(pauses(progress, spans), restarts_s, sum(one.at > first for one in history))

    async def _start(self, instance: str, predecessor: Worker | None = None) -> Worker:
        environ = {"NOTIFY_BROKER__INSTANCE": instance} if self._members == "static" else {}
        return await self._pool.start(ROLE, environ=environ, predecessor=predecessor)

    async def _send(self, sender: SingleSender) -> None:
        """Send to the partitions in turn, until cancelled."""

        async def send(number: int, _: float) -> None:
            turn, bucket = divmod(number, len(self._users))
            user_id = self._users[bucket][turn % len(self._users[bucket])]
            await sender.send(TOPIC, user_id, trigger(f"pause-{number:08x}", user_id, False, [CHANNEL]))
            self._sent += 1

        await at_rate(2**31, 1 / self._rate, send)

    async def _progress(self, began: datetime) -> dict[int, list[float]]:
        """Partition → moments at which a message was published, when all that was sent has been."""
        until = time.monotonic() + _WAIT_S
        async with TopicReader(self._settings) as topics:
            while True:
                arrived = sum((await topics.ends(CHANNEL)).values())
                if arrived >= self._sent or time.monotonic() > until:
                    break
                await asyncio.sleep(0.5)
            found: dict[int, list[float]] = {partition: [] for partition in range(self._settings.partitions)}
            async for place, record in topics.read([CHANNEL], since=began):
                found[place.partition].append(record.timestamp / 1000)
        if arrived < self._sent:
            raise RecordsMissing("messages of triggers", arrived, self._sent)
        return found
