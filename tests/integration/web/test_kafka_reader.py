"""The views' reader of Kafka, whose clients are kept between requests."""

from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from uuid import uuid4

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from notify_streams import kafka
from notify_streams.errors import StoreUnavailable
from notify_streams.settings import Settings
from notify_streams.web.kafka_reader import KafkaReader
from tests.waiting import until


@pytest.fixture
async def topic(views_settings: Settings) -> AsyncIterator[str]:
    """A topic of two partitions for one test."""
    name = f"kafka-reader-{uuid4().hex[:8]}"
    admin = AIOKafkaAdminClient(bootstrap_servers=views_settings.kafka)
    await admin.start()
    await admin.create_topics([NewTopic(name, 2, 1)])
    yield name
    await admin.delete_topics([name])
    await admin.close()


async def test_ranges_are_read_to_their_end_and_not_beyond(topic: str, views_settings: Settings) -> None:
    first, second = (TopicPartition(topic, number) for number in range(2))
    producer = kafka.producer(views_settings.kafka_connection())
    await producer.start()
    async with aclosing(KafkaReader(views_settings.kafka_connection())) as reader:
        assert await reader.extents([first, second]) == ({first: 0, second: 0}, {first: 0, second: 0})
        for number in range(6):
            await producer.send_and_wait(topic, b"%d" % number, partition=number % 2)
        assert (await reader.extents([first, second]))[1] == {first: 3, second: 3}
        records, complete = await reader.read({first: (0, 2), second: (2, 3)})
        assert sorted(record.value or b"" for record in records) == [b"0", b"2", b"5"] and complete
        records, complete = await reader.read({first: (2, 3)})
        assert [record.value for record in records] == [b"4"] and complete
        records, complete = await reader.read({first: (0, 1)})
        assert [record.value for record in records] == [b"0"] and complete
    await producer.stop()


async def committed(reader: KafkaReader, group: str, partition: TopicPartition) -> dict[TopicPartition, int]:
    """A broker that has just started has no coordinator of groups yet."""
    found: list[dict[TopicPartition, int]] = []

    async def answers() -> bool:
        with suppress(StoreUnavailable):
            found.append(await reader.committed(group, [partition]))
        return bool(found)

    await until(answers, "a coordinator answers", within_s=30.0)
    return found[0]


async def test_a_reader_works_again_after_its_clients_were_closed(topic: str, views_settings: Settings) -> None:
    first = TopicPartition(topic, 0)
    async with aclosing(KafkaReader(views_settings.kafka_connection())) as reader:
        for _ in range(2):
            assert (await reader.extents([first]))[1] == {first: 0}
            assert await committed(reader, f"no-group-{topic}", first) == {}
            await reader.aclose()


async def test_every_call_says_that_kafka_does_not_answer() -> None:
    reader = KafkaReader(kafka.KafkaConnection("127.0.0.1:1"))
    first = TopicPartition("any", 0)
    for call in (reader.extents([first]), reader.committed("any", [first]), reader.read({first: (0, 1)})):
        with pytest.raises(StoreUnavailable):
            await call
