"""Triggers sent one by one, each at its scheduled moment, whether or not earlier ones are done: nothing that is slow makes the load lighter."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from notify_streams import kafka
from notify_streams.records.partitioner import bucket_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from types import TracebackType
    from typing import Self

    from notify_streams.settings import Settings


async def at_rate(count: int, every_s: float, act: Callable[[int, float], Awaitable[object]]) -> None:
    """Begin ``act(number, due)`` at each scheduled moment (monotonic seconds); returns when all have ended.

    Whoever measures from `due` measures the sender's own lateness as well.

    Raises:
        Exception: what the first call that failed raised; the others are cancelled.
    """

    async def begin(number: int, due: float) -> None:
        await act(number, due)

    began = time.monotonic()
    async with together() as group:
        for number in range(count):
            due = began + number * every_s
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            group.create_task(begin(number, due))


@asynccontextmanager
async def together() -> AsyncIterator[asyncio.TaskGroup]:
    """A group of tasks that fails with what failed first, as itself."""
    try:
        async with asyncio.TaskGroup() as group:
            yield group
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from failures


class SingleSender:
    """An upstream system that has one trigger at a time, and waits for every in-sync replica."""

    def __init__(self, settings: Settings) -> None:
        self._partitions = settings.partitions
        self._producer = kafka.producer(settings.kafka_connection())

    async def __aenter__(self) -> Self:
        await self._producer.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._producer.stop()

    async def send(self, topic: str, user_id: str, value: bytes) -> float:
        """Send a trigger to its user's bucket; returns when Kafka acknowledged it, in monotonic seconds."""
        bucket = bucket_of(user_id, self._partitions)
        await (await self._producer.send(topic, value, key=user_id.encode(), partition=bucket))
        return time.monotonic()
