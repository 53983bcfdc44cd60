"""Requests for offsets do not wait behind a fetch that waits for records."""

import asyncio
import dataclasses
from typing import Any

from aiokafka import TopicPartition
from faust.types import TP

from notify_streams import kafka
from notify_streams.transport import batched_consumer, ready
from tests.integration.transport.batch_collector import BatchCollector
from tests.integration.transport.conftest import FAST, NewApp, Running
from tests.integration.transport.kafka_topics import WAIT_S, a_topic, until

#: How long a broker holds a fetch of nothing: longer than the test may take.
HELD_S = 60


async def test_a_worker_without_records_starts_and_observes_while_its_fetch_waits(
    kafka_bootstrap: str, new_app: NewApp, running: Running
) -> None:
    topic = await a_topic(kafka_bootstrap, 2)
    app = new_app(
        settings=dataclasses.replace(FAST, idle_fetch_max_wait_ms=HELD_S * 1000, request_timeout_s=2 * HELD_S)
    )
    BatchCollector(app, topic)
    async with running(app):
        await until(lambda: ready(app))
        consumer = batched_consumer(app)
        client: Any = consumer._thread._consumer
        await until(lambda: bool(client._fetcher._in_flight))
        async with asyncio.timeout(WAIT_S):
            found = await consumer.partition_offsets([TP(topic, 0), TP(topic, 1)])
        assert [found[TP(topic, partition)].end for partition in (0, 1)] == [0, 0]


async def test_a_consumer_asks_for_offsets_while_its_fetch_waits(kafka_bootstrap: str) -> None:
    topic = await a_topic(kafka_bootstrap, 1)
    consumer = kafka.consumer(
        kafka.KafkaConnection(kafka_bootstrap, {}), request_timeout_s=2 * HELD_S, fetch_max_wait_ms=HELD_S * 1000
    )
    await consumer.start()
    try:
        partition = TopicPartition(topic, 0)
        consumer.assign([partition])
        await until(lambda: bool(consumer._fetcher._in_flight))
        async with asyncio.timeout(WAIT_S):
            assert await consumer.end_offsets([partition]) == {partition: 0}
    finally:
        await consumer.stop()
