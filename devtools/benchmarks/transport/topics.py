"""Creates, fills, counts and deletes the topics of `bench transport`."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Callable, Sequence

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from notify_streams import kafka
from notify_streams.kafka import KafkaConnection
from notify_streams.transport import BatchProducer, TransportSettings

#: The processes of the cases inherit it.
PARTITIONS_VARIABLE = "NOTIFY_BENCH_PARTITIONS"
DEFAULT_PARTITIONS = 4
_CHUNK = 5000


def partitions() -> int:
    """Partitions of every topic of the benchmark."""
    return int(os.environ.get(PARTITIONS_VARIABLE, DEFAULT_PARTITIONS))


@contextlib.asynccontextmanager
async def admin_of(bootstrap: str) -> AsyncIterator[AIOKafkaAdminClient]:
    """An admin client, closed when the block ends."""
    admin = kafka.admin(KafkaConnection(bootstrap))
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


async def create(bootstrap: str, name: str, *, compacted: bool = False) -> str:
    """Create a topic; returns its name."""
    config = {"cleanup.policy": "compact" if compacted else "delete"}
    async with admin_of(bootstrap) as admin:
        response = await admin.create_topics([NewTopic(name, partitions(), 1, topic_configs=config)])
        if response.topic_errors[0][1]:
            raise RuntimeError(f"topic {name} was not created: {response}")
    return name


async def delete(bootstrap: str, names: Sequence[str]) -> None:
    """Delete topics; those that do not exist are ignored."""
    async with admin_of(bootstrap) as admin:
        await admin.delete_topics(list(names))


async def fill(bootstrap: str, topic: str, count: int, value: Callable[[int], bytes]) -> None:
    """Write `count` records with the keys `u<number>`, spread over the partitions in chunks."""
    producer = BatchProducer(KafkaConnection(bootstrap), TransportSettings(compression=None))
    await producer.start()
    try:
        chunk = max(1, min(_CHUNK, count // partitions()))
        for start in range(0, count, chunk):
            numbers = range(start, min(start + chunk, count))
            records = [(b"u%d" % number, value(number), ()) for number in numbers]
            await producer.send_batch(topic, start // chunk % partitions(), records)
    finally:
        await producer.stop()


async def count(bootstrap: str, topic: str) -> int:
    """Records of a topic without holes."""
    consumer = kafka.consumer(KafkaConnection(bootstrap))
    await consumer.start()
    try:
        tps = [TopicPartition(topic, partition) for partition in range(partitions())]
        ends, beginnings = await consumer.end_offsets(tps), await consumer.beginning_offsets(tps)
        return sum(ends[tp] - beginnings[tp] for tp in tps)
    finally:
        await consumer.stop()
