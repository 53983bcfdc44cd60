"""The benchmark's topics: made, filled and counted before and after the contestants run.

In: a broker. Out: topics with known content. Everything it makes carries the run's prefix and is deleted at the end.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from notify_streams import kafka
from notify_streams.kafka import KafkaConnection
from notify_streams.transport import BatchProducer, TransportSettings

PARTITIONS = 4
CHUNK = 5000


@contextlib.asynccontextmanager
async def admin_of(bootstrap: str) -> AsyncIterator[AIOKafkaAdminClient]:
    """An admin client, closed on leaving."""
    admin = kafka.admin(KafkaConnection(bootstrap))
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


async def create(bootstrap: str, name: str, *, compacted: bool = False) -> str:
    """A new topic with `PARTITIONS` partitions."""
    config = {"cleanup.policy": "compact" if compacted else "delete"}
    async with admin_of(bootstrap) as admin:
        answer = await admin.create_topics([NewTopic(name, PARTITIONS, 1, topic_configs=config)])
        if answer.topic_errors[0][1]:
            raise RuntimeError(f"topic {name} was not created: {answer}")
    return name


async def delete(bootstrap: str, names: Sequence[str]) -> None:
    """Remove topics, as far as they exist."""
    async with admin_of(bootstrap) as admin:
        await admin.delete_topics(list(names))


async def fill(bootstrap: str, topic: str, count: int, value: Callable[[int], bytes]) -> None:
    """Records number 0 to `count`, key `u<number>`, spread over the partitions in chunks."""
    producer = BatchProducer(KafkaConnection(bootstrap), TransportSettings(compression=None))
    await producer.start()
    try:
        for start in range(0, count, CHUNK):
            numbers = range(start, min(start + CHUNK, count))
            records = [(b"u%d" % number, value(number), ()) for number in numbers]
            await producer.send_batch(topic, start // CHUNK % PARTITIONS, records)
    finally:
        await producer.stop()


async def count(bootstrap: str, topic: str) -> int:
    """How many records a topic without holes has."""
    consumer = kafka.consumer(KafkaConnection(bootstrap))
    await consumer.start()
    try:
        tps = [TopicPartition(topic, partition) for partition in range(PARTITIONS)]
        ends, beginnings = await consumer.end_offsets(tps), await consumer.beginning_offsets(tps)
        return sum(ends[tp] - beginnings[tp] for tp in tps)
    finally:
        await consumer.stop()
