"""Times single records through a case that copies, from sending until arrival."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from devtools.benchmarks.transport.topics import partitions
from notify_streams import tasks

EVERY_S = 0.01
WARM_UP = 100
PROBE = b"running?"


async def arrival_times(bootstrap: str, source: str, target: str, records: int) -> list[float]:
    """Wait until the case copies, then send `records` (and some to warm up) at 100 a second; returns the seconds of each that arrived."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest", fetch_max_wait_ms=500)
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all")
    await producer.start()
    await consumer.start()
    consumer.assign([TopicPartition(target, partition) for partition in range(partitions())])
    await consumer.seek_to_beginning()
    running = asyncio.Event()
    sent: dict[bytes, float] = {}
    took: dict[bytes, float] = {}

    async def receive() -> None:
        while len(took) < records + WARM_UP:
            record = await consumer.getone()
            if record.value == PROBE:
                running.set()
                continue
            took[record.value] = time.perf_counter() - sent[record.value]

    receiving = asyncio.create_task(receive())
    try:
        while not running.is_set():
            await producer.send(source, PROBE, partition=0)
            with suppress(TimeoutError):
                await asyncio.wait_for(running.wait(), 0.2)
        at = time.perf_counter()
        for number in range(records + WARM_UP):
            value = b"%d" % number
            sent[value] = time.perf_counter()
            await producer.send(source, value, partition=number % partitions())
            at += EVERY_S
            await asyncio.sleep(max(at - time.perf_counter(), 0))
        await asyncio.wait([receiving], timeout=10)
        return [seconds for value, seconds in took.items() if int(value) >= WARM_UP]
    finally:
        await tasks.stop([receiving])
        await consumer.stop()
        await producer.stop()
