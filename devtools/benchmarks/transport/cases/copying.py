"""Copy cases: every record goes to the same partition of another topic, acks=all.

Timed from the first delivery to the last acknowledgement.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from typing import Any

from aiokafka import AIOKafkaProducer

from devtools.benchmarks.baselines import send_records
from devtools.benchmarks.transport.cases.task import Task, TaskResult, an_app, plain_consumer
from notify_streams.transport import batched_topic, producer_of


async def plain(task: Task) -> TaskResult:
    """aiokafka: `getmany`, then `create_batch` and `send_batch` for each partition."""
    seen, began = 0, 0.0
    async with (
        AIOKafkaProducer(bootstrap_servers=task.bootstrap, acks="all", max_batch_size=1_000_000) as producer,
        plain_consumer(task, fetch_max_wait_ms=50) as consumer,
    ):
        while seen < task.records:
            found = await consumer.getmany(timeout_ms=1000)
            began = began or time.perf_counter()
            await asyncio.gather(
                *(send_records(producer, task.target, tp.partition, records) for tp, records in found.items())
            )
            seen += sum(len(records) for records in found.values())
        return TaskResult(seen, time.perf_counter() - began)


async def batched(task: Task) -> TaskResult:
    """A Faust agent on the batched transport: one batch in, one batch out, partitions in parallel."""
    app = an_app(task, "batched")
    seen, began, done = 0, 0.0, asyncio.get_running_loop().create_future()
    locks: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)
    limit = asyncio.Semaphore(8)
    tasks: set[asyncio.Task[None]] = set()

    async def copy(event: Any) -> None:
        nonlocal seen
        batch = event.value
        async with locks[batch.partition]:
            await producer_of(app).send_batch(task.target, batch.partition, batch.records)
        event.ack()
        limit.release()
        seen += len(batch)
        if seen >= task.records and not done.done():
            done.set_result(time.perf_counter() - began)

    @app.agent(batched_topic(app, task.source))
    async def copy_all(stream) -> None:  # type: ignore[no-untyped-def]
        nonlocal began
        async for event in stream.noack().events():
            began = began or time.perf_counter()
            await limit.acquire()
            running = asyncio.create_task(copy(event))
            tasks.add(running)
            running.add_done_callback(tasks.discard)

    app.finalize()
    await app.start()
    seconds = await done
    return TaskResult(seen, seconds)


async def librdkafka(task: Task) -> TaskResult:
    """librdkafka: `consume` many records, `produce` each to its partition."""
    return await asyncio.to_thread(_librdkafka, task)


def _librdkafka(task: Task) -> TaskResult:
    from confluent_kafka import Consumer, Producer

    consumer = Consumer(
        {
            "bootstrap.servers": task.bootstrap,
            "group.id": task.group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    producer = Producer(
        {
            "bootstrap.servers": task.bootstrap,
            "acks": "all",
            "linger.ms": 5,
            "batch.num.messages": 10_000,
            "queue.buffering.max.messages": 1_000_000,
        }
    )
    consumer.subscribe([task.source])
    seen, began = 0, 0.0
    while seen < task.records:
        found = consumer.consume(10_000, timeout=1.0)
        if not found:
            continue
        began = began or time.perf_counter()
        for record in found:
            producer.produce(task.target, record.value(), record.key(), partition=record.partition() or 0)
        producer.poll(0)
        seen += len(found)
    missing = producer.flush(30)
    seconds = time.perf_counter() - began
    consumer.close()
    return TaskResult(seen - missing, seconds)
