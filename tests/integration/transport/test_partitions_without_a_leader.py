"""A partition without a leader, or whose leader hangs, holds up its own batches only."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from devtools.stack.kafka import Kafka, private_brokers
from notify_streams.kafka import KafkaConnection
from notify_streams.transport import BatchNotSent, BatchProducer, TransportSettings
from tests.integration.transport.kafka_topics import a_topic, until

TIMEOUT_S = 2.0


@pytest.fixture(scope="module")
def brokers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Kafka, Kafka]]:
    folder: Path = tmp_path_factory.mktemp("kafka")
    with private_brokers(folder) as both:
        yield both


@pytest.fixture
async def producer(brokers: tuple[Kafka, Kafka]) -> AsyncIterator[BatchProducer]:
    settings = TransportSettings(produce_timeout_s=TIMEOUT_S, compression=None)
    made = BatchProducer(KafkaConnection(brokers[0].address), settings)
    await made.start()
    yield made
    await made.stop()


async def partitions_of(address: str, topic: str) -> tuple[int, int]:
    """A partition of the first broker and one of the second."""
    async with AIOKafkaConsumer(bootstrap_servers=address) as consumer:
        leaders: dict[int, int] = {}

        async def all_led() -> bool:
            await consumer._client.force_metadata_update()
            for number in await consumer._client._wait_on_metadata(topic):
                leaders[consumer._client.cluster.leader_for_partition(TopicPartition(topic, number))] = number
            return leaders.keys() >= {1, 2}

        await until(all_led)
    return leaders[1], leaders[2]


async def values_of(address: str, topic: str, partition: int) -> list[bytes]:
    async with AIOKafkaConsumer(bootstrap_servers=address, auto_offset_reset="earliest") as consumer:
        place = TopicPartition(topic, partition)
        consumer.assign([place])
        ends = await consumer.end_offsets([place])
        return [(await consumer.getone()).value for _ in range(ends[place])]


def values(*numbers: int) -> list[tuple[bytes | None, bytes | None, Any]]:
    return [(b"k", b"%d" % number, ()) for number in numbers]


@pytest.mark.parametrize("hangs", [False, True], ids=["away", "hangs"])
async def test_the_others_go_on(brokers: tuple[Kafka, Kafka], producer: BatchProducer, hangs: bool) -> None:
    first, second = brokers
    topic = await a_topic(first.address, 4)
    here, there = await partitions_of(first.address, topic)
    await producer.send_batch(topic, here, values(0))
    await producer.send_batch(topic, there, values(0))
    (second.pause if hangs else second.stop)()
    try:
        failures = 0

        async def send_there() -> None:
            nonlocal failures
            while True:
                try:
                    await producer.send_batch(topic, there, values(1))
                    return
                except BatchNotSent:
                    failures += 1

        sending = asyncio.create_task(send_there())
        sent, slowest_s, loop = 0, 0.0, asyncio.get_running_loop()
        while failures < 3:
            began_s = loop.time()
            sent += 1
            await producer.send_batch(topic, here, values(sent))
            slowest_s = max(slowest_s, loop.time() - began_s)
    finally:
        second.start()
    await asyncio.wait_for(sending, 30)
    assert slowest_s < TIMEOUT_S / 2
    assert await values_of(first.address, topic, here) == [b"%d" % number for number in range(sent + 1)]
    # A leader that hangs may have got a record, and write it when it goes on.
    assert sorted({*await values_of(first.address, topic, there)}) == [b"0", b"1"]
