"""Iterates over a stream's batches, in sequence or concurrently by partition."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

from notify_streams import tasks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from faust import Stream
    from faust.types import StreamT

    from notify_streams.transport import BatchEvent

    Process = Callable[[BatchEvent], Awaitable[None]]


async def batch_events(stream: StreamT[Any]) -> AsyncIterator[BatchEvent]:
    """The stream's batches. Only `event.ack()` acknowledges one; call it when everything in the batch is durable."""
    async for event in cast("Stream[Any]", stream).noack().events():
        yield cast("BatchEvent", event)


async def process_partitions_concurrently(stream: StreamT[Any], process: Process) -> None:
    """Call `process` for each batch: in order within a partition, concurrently across partitions.

    The queues are bounded by the transport, which delivers at most two full batches of a partition before one is acknowledged.
    The first exception of `process` ends the loop and is raised.
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
                task = asyncio.create_task(_process_queue(queues[partition], process), name=f"partition {partition}")
                task.add_done_callback(on_done)
                workers.add(task)
            queues[partition].put_nowait(event)
    finally:
        await tasks.stop(workers)
        for task in workers:
            if not task.cancelled() and (error := task.exception()) is not None:
                raise error


async def _process_queue(queue: asyncio.Queue[BatchEvent], process: Process) -> None:
    while True:
        await process(await queue.get())
