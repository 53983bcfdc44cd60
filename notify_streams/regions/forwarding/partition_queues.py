"""Forwards batches to one region: one queue for each partition.

Batches of a partition are forwarded in order, each acknowledged afterwards; batches that waited are sent as one, because a round trip
costs the same for many records. There is no order between partitions, and none waits for another one: the transport bounds what a
partition has in memory, because it delivers at most two full batches before one is acknowledged.
"""

from __future__ import annotations

import asyncio
import logging
from itertools import chain
from typing import TYPE_CHECKING, Final, NamedTuple

from notify_streams import tasks
from notify_streams.errors import RetryLater
from notify_streams.retry import RetryPolicy
from notify_streams.transport import RecordBatch

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from notify_streams.records.batch import Batch
    from notify_streams.regions.forwarding.forward_spans import ForwardSpans
    from notify_streams.regions.forwarding.remote_region import RemoteRegion

    QueuedBatch = tuple[Batch, Callable[[], object]]

log = logging.getLogger(__name__)

#: Without a limit: the records belong to another region's users, and the topic keeps them for a week.
_RETRY: Final = RetryPolicy("forward", first_s=0.1, max_s=5.0)


class _PartitionQueue(NamedTuple):
    batches: asyncio.Queue[QueuedBatch]
    sender: asyncio.Task[None]


class PartitionQueues:
    """One worker's queues to one region."""

    def __init__(self, remote: RemoteRegion, retry: RetryPolicy = _RETRY, spans: ForwardSpans | None = None) -> None:
        """`spans`: None while tracing is off."""
        self._remote = remote
        self._spans = spans
        self._retry = retry
        self._queues: dict[int, _PartitionQueue] = {}

    async def submit(self, batch: Batch, acknowledge: Callable[[], object]) -> None:
        """Queue a batch. `acknowledge` is called when the other region has it."""
        queue = self._queues.get(batch.partition)
        if queue is None:
            batches: asyncio.Queue[QueuedBatch] = asyncio.Queue()
            queue = _PartitionQueue(batches, asyncio.create_task(self._send(batches)))
            self._queues[batch.partition] = queue
        queue.batches.put_nowait((batch, acknowledge))

    def on_revoked(self, partitions: Collection[int]) -> None:
        """Drop the queues of these partitions. Their new owner reads again what was not acknowledged."""
        for partition in partitions:
            queue = self._queues.pop(partition, None)
            if queue is not None:
                queue.sender.cancel()

    async def stop(self) -> None:
        """Drop all queues and wait until nothing is being sent."""
        senders = [queue.sender for queue in self._queues.values()]
        self._queues.clear()
        await tasks.stop(senders)

    async def _send(self, batches: asyncio.Queue[QueuedBatch]) -> None:
        while True:
            queued = [await batches.get()]
            while not batches.empty():
                queued.append(batches.get_nowait())
            batch = merge_batches([batch for batch, _ in queued])
            if self._spans is None:
                await self._retry.call(self._forward, batch)
            else:
                batch, traces = self._spans.begin(batch)
                await self._retry.call(self._forward, batch)
                self._spans.end(batch, traces)
            for _, acknowledge in queued:
                acknowledge()

    async def _forward(self, batch: Batch) -> None:
        """As `RemoteRegion.forward`.

        After an unknown error too the batch is forwarded again: it would stop the partition without a sign.
        """
        try:
            await self._remote.forward(batch)
        except RetryLater:
            raise
        except Exception as error:
            log.exception(
                "a batch could not be forwarded, will be retried",
                extra={"action": "forward.error", "topic": batch.topic, "partition": batch.partition},
            )
            raise RetryLater(f"{batch.topic}-{batch.partition}: {type(error).__name__}") from error


def merge_batches(batches: Sequence[Batch]) -> Batch:
    """One batch with the records of all, in order; `batches` is not empty."""
    first = batches[0]
    if len(batches) == 1:
        return first
    records = list(chain.from_iterable(batch.records for batch in batches))
    return RecordBatch(first.topic, first.partition, first.start, batches[-1].end, records)
