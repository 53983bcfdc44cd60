"""Open-loop load: each call starts on schedule, however slow the earlier ones."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from notify_streams import kafka
from notify_streams.records.partitioner import bucket_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from typing import Self

    from notify_streams.settings import Settings


async def at_rate(count: int, every_s: float, act: Callable[[int, float], Awaitable[object]]) -> None:
    """Start ``act(number, due)`` at each scheduled moment `due` (monotonic seconds); return when all have ended.

    A latency measured from `due` includes the sender's own delay.

    Raises:
        Exception: what the first call that failed raised; the others are cancelled.
    """

    began = time.monotonic()
    async with task_group() as group:
        for number in range(count):
            due = began + number * every_s
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            group.create_task(_run(act(number, due)))


async def _run(started: Awaitable[object]) -> None:
    await started


@asynccontextmanager
async def task_group() -> AsyncIterator[asyncio.TaskGroup]:
    """An `asyncio.TaskGroup` that raises its first error itself, not in an exception group."""
    try:
        async with asyncio.TaskGroup() as group:
            yield group
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from failures


class SingleSender:
    """Sends triggers one at a time, acknowledged by every in-sync replica."""

    def __init__(self, settings: Settings) -> None:
        self._partitions = settings.partitions
        self._producer = kafka.producer(settings.kafka_connection())

    async def __aenter__(self) -> Self:
        await self._producer.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._producer.stop()

    async def send(self, topic: str, user_id: str, value: bytes) -> float:
        """Send a trigger to its user's bucket. Returns the monotonic time of Kafka's acknowledgement."""
        bucket = bucket_of(user_id, self._partitions)
        await (await self._producer.send(topic, value, key=user_id.encode(), partition=bucket))
        return time.monotonic()
