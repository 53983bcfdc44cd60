"""Read cases: count records and acknowledge them.

Timed from the first delivery to the last.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import faust

from devtools.benchmarks.transport.cases.task import Task, TaskResult, an_app, plain_consumer
from notify_streams.transport import batched_topic


async def plain(task: Task) -> TaskResult:
    """aiokafka's `getmany` in a loop, with the transport's fetch sizes."""
    seen, began = 0, 0.0
    async with plain_consumer(task) as consumer:
        while seen < task.records:
            found = await consumer.getmany(timeout_ms=1000)
            began = began or time.perf_counter()
            seen += sum(len(records) for records in found.values())
        return TaskResult(seen, time.perf_counter() - began)


async def batched(task: Task) -> TaskResult:
    """A Faust agent on the batched transport."""
    app = an_app(task, "batched")
    return await _count(app, batched_topic(app, task.source), task.records, len)


async def stock(task: Task) -> TaskResult:
    """The same agent on stock Faust."""
    app = an_app(task, "kafka")
    topic = app.topic(task.source, value_serializer="raw", key_serializer="raw")
    return await _count(app, topic, task.records, lambda value: 1)


async def _count(app: faust.App, topic: Any, records: int, records_in: Callable[[Any], int]) -> TaskResult:
    """An agent that counts the records in each event and acknowledges it."""
    seen, began, done = 0, 0.0, asyncio.get_running_loop().create_future()

    @app.agent(topic)
    async def count(stream) -> None:  # type: ignore[no-untyped-def]
        nonlocal seen, began
        async for event in stream.noack().events():
            began = began or time.perf_counter()
            seen += records_in(event.value)
            event.ack()
            if seen >= records and not done.done():
                done.set_result(time.perf_counter() - began)

    app.finalize()
    await app.start()
    seconds = await done
    return TaskResult(seen, seconds)
