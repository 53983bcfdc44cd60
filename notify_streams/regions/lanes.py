"""Several partitions on their way to a region at once: a lane each, so that a long link is filled and not waited for in turns.

In: batches with their acknowledgement, in the order of their partition. Out: each batch handed over, then acknowledged, however
long that takes. A batch of a partition goes after the one before it, and what waited meanwhile goes as one: a round trip costs the
same for many. Between partitions there is no order.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Final

from notify_streams.backoff import Backoff
from notify_streams.errors import RetryLater

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from notify_streams.outbox.taken import SourceRecord
    from notify_streams.regions.handover import Handed, RemoteRegion

    Waiting = tuple[Handed, Callable[[], object]]

#: For ever: what waits belongs to another region's people, and the topic keeps it for a week.
PAUSES: Final = Backoff(first_s=0.1, longest_s=5.0)
#: Batches of one partition that may wait in memory, besides what is under way.
_WAITING: Final = 3


@dataclass(frozen=True, slots=True)
class Joined:
    """Batches that follow one another, as one."""

    partition: int
    start: int
    records: Sequence[SourceRecord]


class Lanes:
    """The lanes of one worker to one region."""

    def __init__(self, remote: RemoteRegion, pauses: Backoff = PAUSES) -> None:
        self._remote = remote
        self._pauses = pauses
        self._lanes: dict[int, tuple[asyncio.Queue[Waiting], asyncio.Task[None]]] = {}

    async def submit(self, batch: Handed, acknowledge: Callable[[], object]) -> None:
        """Queue a batch; waits while its lane is full. `acknowledge` is called once, when the other region has the batch."""
        if batch.partition not in self._lanes:
            queue: asyncio.Queue[Waiting] = asyncio.Queue(_WAITING)
            self._lanes[batch.partition] = (queue, asyncio.create_task(self._run(queue)))
        await self._lanes[batch.partition][0].put((batch, acknowledge))

    def give_up(self, partitions: Collection[int] | None = None) -> None:
        """Forget lanes whose partitions belong to another worker now, or all. What was not acknowledged is read again there."""
        for partition in list(self._lanes if partitions is None else partitions):
            lane = self._lanes.pop(partition, None)
            if lane is not None:
                lane[1].cancel()

    async def stop(self) -> None:
        """End all lanes wherever they are."""
        tasks = [task for _, task in self._lanes.values()]
        self.give_up()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, queue: asyncio.Queue[Waiting]) -> None:
        while True:
            waiting = [await queue.get()]
            while not queue.empty():
                waiting.append(queue.get_nowait())
            await self._hand_over(joined([batch for batch, _ in waiting]))
            for _, acknowledge in waiting:
                acknowledge()

    async def _hand_over(self, batch: Handed) -> None:
        failures = 0
        while True:
            try:
                return await self._remote.hand_over(batch)
            except RetryLater:
                failures += 1
                await asyncio.sleep(self._pauses.pause_s(failures, random.random()) or 0)


def joined(batches: Sequence[Handed]) -> Handed:
    """The records of all, in order; there is at least one."""
    first = batches[0]
    if len(batches) == 1:
        return first
    return Joined(first.partition, first.start, list(chain.from_iterable(batch.records for batch in batches)))
