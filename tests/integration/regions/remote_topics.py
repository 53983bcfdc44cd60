"""Topics on the other region's Kafka, and batches as the transport delivers them."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from notify_streams.transport import RecordBatch


def an_id() -> str:
    return uuid.uuid4().hex[:8]


@dataclass(frozen=True)
class Record:
    key: bytes
    value: bytes
    headers: Sequence[tuple[str, bytes]] = ()
    offset: int = 0
    timestamp: int = 0


def triggers(partition: int, start: int, count: int, tag: str = "t", size: int = 0) -> RecordBatch:
    headers = [("hops", b"1"), ("origin", b"us")]
    filling = b"x" * size
    numbers = range(start, start + count)
    records = [Record(b"u-%d" % (n % 7), b"%s-%d %s" % (tag.encode(), n, filling), headers) for n in numbers]
    return RecordBatch("forward.eu", partition, start, start + count, records)


async def make_topics(bootstrap: str, *names: str, partitions: int = 8) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, partitions, 1) for name in names])
    finally:
        await admin.close()


async def read_all(bootstrap: str, topic: str, partition: int) -> list[Any]:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=8_000_000,
    )
    await consumer.start()
    try:
        where = TopicPartition(topic, partition)
        consumer.assign([where])
        end = (await consumer.end_offsets([where]))[where]
        found: list[Any] = []
        async with asyncio.timeout(20):
            while await consumer.position(where) < end:
                found += (await consumer.getmany(where, timeout_ms=500)).get(where, [])
        return found
    finally:
        await consumer.stop()
