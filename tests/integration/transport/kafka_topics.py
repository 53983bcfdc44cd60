"""Creates, fills and reads topics and committed offsets for the transport's tests."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Iterable
from functools import partial

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete

from tests import waiting

WAIT_S = 15.0


def unique(prefix: str) -> str:
    return f"{prefix}-{uuid.uuid4().hex[:10]}"


until = partial(waiting.until, within_s=WAIT_S)


@contextlib.asynccontextmanager
async def admin_of(bootstrap: str) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


async def a_topic(bootstrap: str, partitions: int = 2, name: str | None = None, **config: str) -> str:
    name = name or unique("t")
    async with admin_of(bootstrap) as admin:
        response = await admin.create_topics([NewTopic(name, partitions, 1, topic_configs=config)])
        assert response.topic_errors[0][1] == 0, response
    return name


async def delete_topic(bootstrap: str, name: str) -> None:
    async with admin_of(bootstrap) as admin:
        await admin.delete_topics([name])
        while name in await admin.list_topics():
            await asyncio.sleep(0.02)


async def delete_records(bootstrap: str, topic: str, partition: int, before: int) -> None:
    async with admin_of(bootstrap) as admin:
        await admin.delete_records({TopicPartition(topic, partition): RecordsToDelete(before)})


@contextlib.asynccontextmanager
async def a_producer(bootstrap: str, **options: object) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, **options)
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


async def fill(
    bootstrap: str, topic: str, partition: int, values: Iterable[bytes | None], key: bytes | None = None
) -> None:
    async with a_producer(bootstrap, linger_ms=5) as producer:
        futures = [await producer.send(topic, value, key=key, partition=partition) for value in values]
        await asyncio.gather(*futures)


async def read(bootstrap: str, topic: str, count: int) -> list[ConsumerRecord[bytes, bytes]]:
    """The first records of partition 0."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        consumer.assign([TopicPartition(topic, 0)])
        return [await consumer.getone() for _ in range(count)]
    finally:
        await consumer.stop()


async def committed(bootstrap: str, group: str, topic: str, partition: int = 0) -> int | None:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=group, enable_auto_commit=False)
    await consumer.start()
    try:
        offset: int | None = await consumer.committed(TopicPartition(topic, partition))
        return offset
    finally:
        await consumer.stop()


async def until_committed(bootstrap: str, group: str, topic: str, offset: int, partition: int = 0) -> None:
    async def is_committed() -> bool:
        return await committed(bootstrap, group, topic, partition) == offset

    await until(is_committed, f"{offset} committed for {topic}-{partition}")
