"""Iterates over a stream's batches, in sequence or concurrently by partition."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final, cast

from notify_streams import tasks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from faust import Stream
    from faust.types import StreamT

    from notify_streams.transport import BatchEvent

    Process = Callable[[BatchEvent], Awaitable[None]]

log = logging.getLogger(__name__)

#: Before a batch that failed is delivered again.
_FAILED_PAUSE_S: Final = 1.0


async def batch_events(stream: StreamT[Any]) -> AsyncIterator[BatchEvent]:
    """The stream's batches. Only `event.ack()` acknowledges one; call it when everything in the batch is durable."""
    async for event in cast("Stream[Any]", stream).noack().events():
        yield cast("BatchEvent", event)


async def process_partitions_concurrently(
    stream: StreamT[Any], process: Process, pause_s: float = _FAILED_PAUSE_S
) -> None:
    """Call `process` for each batch: in order within a partition, concurrently across partitions.

    The queues are bounded by the transport, which delivers at most two full batches of a partition before one is acknowledged.
    If `process` raises, what is not acknowledged of this partition is delivered again after a pause; other partitions go on.
    """
    queues: dict[int, asyncio.Queue[BatchEvent]] = {}
    workers: set[asyncio.Task[None]] = set()
    owner = asyncio.current_task()

    def on_done(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None and owner is not None:
            owner.cancel()

    try:
        async for event in batch_events(stream):
            partition = event.message.partition
            if partition not in queues:
                queues[partition] = asyncio.Queue()
                task = asyncio.create_task(
                    _process_queue(queues[partition], process, pause_s), name=f"partition {partition}"
                )
                task.add_done_callback(on_done)
                workers.add(task)
            queues[partition].put_nowait(event)
    finally:
        await tasks.stop(workers)
        for task in workers:
            if not task.cancelled() and (error := task.exception()) is not None:
                raise error


async def _process_queue(queue: asyncio.Queue[BatchEvent], process: Process, pause_s: float) -> None:
    while True:
        event = await queue.get()
        try:
            await process(event)
        except Exception:
            where = {"topic": event.message.topic, "partition": event.message.partition}
            log.exception(
                "a batch failed and will be delivered again; its partition waits",
                extra={"action": "batch.redeliver", **where},
            )
            await asyncio.sleep(pause_s)
            later = [queue.get_nowait() for _ in range(queue.qsize())]
            event.redeliver()
            for one in later:
                # The others of this assignment come again, too.
                if one.message.buffer is not event.message.buffer:
                    queue.put_nowait(one)
