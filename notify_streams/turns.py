"""How agents take batches: one after the other, or each partition's in order with the partitions side by side."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

    from faust import Stream
    from faust.types import StreamT

    from notify_streams.transport import BatchEvent

    Work = Callable[[BatchEvent], Awaitable[None]]

_CANCEL_AGAIN_S: Final = 0.5


async def events(stream: StreamT[Any]) -> AsyncIterator[BatchEvent]:
    """A stream's batches, each to be acknowledged by ``event.ack()`` once everything in it is durable, and by nothing else."""
    async for event in cast("Stream[Any]", stream).noack().events():
        yield cast("BatchEvent", event)


async def side_by_side(stream: StreamT[Any], work: Work) -> None:
    """Give each batch to `work`: those of one partition one after the other, partitions at the same time.

    The transport gives a partition no more than two full batches before one is acknowledged, so that what waits here is bounded and the
    rest merges over there. What `work` raises ends the whole loop.
    """
    turns: dict[int, asyncio.Queue[BatchEvent]] = {}
    tasks: set[asyncio.Task[None]] = set()
    owner = asyncio.current_task()

    def ended(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None and owner is not None:
            owner.cancel()

    try:
        async for event in events(stream):
            partition = event.message.partition
            if partition not in turns:
                turns[partition] = asyncio.Queue()
                task = asyncio.create_task(_in_turn(turns[partition], work), name=f"partition {partition}")
                task.add_done_callback(ended)
                tasks.add(task)
            turns[partition].put_nowait(event)
    finally:
        await end_tasks(tasks)
        for task in tasks:
            if not task.cancelled() and (error := task.exception()) is not None:
                raise error


async def _in_turn(turns: asyncio.Queue[BatchEvent], work: Work) -> None:
    while True:
        await work(await turns.get())


async def end_tasks(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel again and again: `asyncio.wait_for` of Python 3.11, which drivers use, can lose a cancellation (python/cpython#86296)."""
    left = {task for task in tasks if not task.done()}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=_CANCEL_AGAIN_S)
