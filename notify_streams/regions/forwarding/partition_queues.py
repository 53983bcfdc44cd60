"""Several partitions on their way to a region at once: a lane each, so that a long link is filled and not waited for in turns.

In: batches with their acknowledgement, in the order of their partition. Out: each batch handed over, then acknowledged, however
long that takes. A batch of a partition goes after the one before it, and what waited meanwhile goes as one: a round trip costs the
same for many. Between partitions there is no order.
"""

from __future__ import annotations

import asyncio
from itertools import chain
from typing import TYPE_CHECKING, Final

from notify_streams import tasks
from notify_streams.retry import RetryPolicy
from notify_streams.transport import RecordBatch

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from notify_streams.records.batch import Batch
    from notify_streams.regions.forwarding.remote_region import RemoteRegion

    Waiting = tuple[Batch, Callable[[], object]]

#: For ever: what waits belongs to another region's people, and the topic keeps it for a week.
RETRIES: Final = RetryPolicy("forward", first_s=0.1, max_s=5.0)
#: Batches of one partition that may wait in memory, besides what is under way.
_WAITING: Final = 3


class PartitionQueues:
    """The lanes of one worker to one region."""

    def __init__(self, remote: RemoteRegion, retries: RetryPolicy = RETRIES) -> None:
        self._remote = remote
        self._retries = retries
        self._lanes: dict[int, tuple[asyncio.Queue[Waiting], asyncio.Task[None]]] = {}

    async def submit(self, batch: Batch, acknowledge: Callable[[], object]) -> None:
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
        running = [task for _, task in self._lanes.values()]
        self.give_up()
        await tasks.stop(running)

    async def _run(self, queue: asyncio.Queue[Waiting]) -> None:
        while True:
            waiting = [await queue.get()]
            while not queue.empty():
                waiting.append(queue.get_nowait())
            await self._hand_over(merge_batches([batch for batch, _ in waiting]))
            for _, acknowledge in waiting:
                acknowledge()

    async def _hand_over(self, batch: Batch) -> None:
        await self._retries.call(self._remote.hand_over, batch)


def merge_batches(batches: Sequence[Batch]) -> Batch:
    """The records of all, in order; there is at least one."""
    first = batches[0]
    if len(batches) == 1:
        return first
    records = list(chain.from_iterable(batch.records for batch in batches))
    return RecordBatch(first.topic, first.partition, first.start, batches[-1].end, records)
