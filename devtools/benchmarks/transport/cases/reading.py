"""Read cases: count records and acknowledge them.

Timed from the first delivery to the last.
"""

from __future__ import annotations

import asyncio
import time

from aiokafka import AIOKafkaConsumer

from devtools.benchmarks.transport.cases.task import Task, TaskResult, an_app
from notify_streams.transport import batched_topic


async def plain(task: Task) -> TaskResult:
    """aiokafka's `getmany` in a loop, with the transport's fetch sizes."""
    consumer = AIOKafkaConsumer(
        task.source,
        bootstrap_servers=task.bootstrap,
        group_id=task.group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=1024 * 1024,
        fetch_max_bytes=16 * 1024 * 1024,
    )
    await consumer.start()
    seen, began = 0, 0.0
    try:
        while seen < task.records:
            found = await consumer.getmany(timeout_ms=1000)
            began = began or time.perf_counter()
            seen += sum(len(records) for records in found.values())
        return TaskResult(seen, time.perf_counter() - began)
    finally:
        await consumer.stop()


async def batched(task: Task) -> TaskResult:
    """A Faust agent on the batched transport."""
    app = an_app(task, "batched")
    seen, began, done = 0, 0.0, asyncio.get_running_loop().create_future()

    @app.agent(batched_topic(app, task.source))
    async def count(stream) -> None:  # type: ignore[no-untyped-def]
        nonlocal seen, began
        async for event in stream.noack().events():
            began = began or time.perf_counter()
            seen += len(event.value)
            event.ack()
            if seen >= task.records and not done.done():
                done.set_result(time.perf_counter() - began)

    app.finalize()
    await app.start()
    seconds = await done
    return TaskResult(seen, seconds)


async def stock(task: Task) -> TaskResult:
    """The same agent on stock Faust."""
    app = an_app(task, "kafka")
    seen, began, done = 0, 0.0, asyncio.get_running_loop().create_future()

    @app.agent(app.topic(task.source, value_serializer="raw", key_serializer="raw"))
    async def count(stream) -> None:  # type: ignore[no-untyped-def]
        nonlocal seen, began
        async for event in stream.noack().events():
            began = began or time.perf_counter()
            seen += 1
            event.ack()
            if seen == task.records:
                done.set_result(time.perf_counter() - began)

    app.finalize()
    await app.start()
    seconds = await done
    return TaskResult(seen, seconds)
