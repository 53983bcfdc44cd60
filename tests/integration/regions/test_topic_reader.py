"""Reading whole topics of another region: a broker that falls silent in the middle ends the reading."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka import AIOKafkaProducer

from devtools.fakes.latency_proxy import LatencyProxy
from notify_streams.admin.audit.topics import TopicReader
from notify_streams.errors import StoreUnavailable
from tests.builders import some_settings
from tests.integration.regions.remote_topics import an_id, make_topics

RECORDS, BYTES, SILENT_S = 100, 100_000, 3.0


@pytest.mark.parametrize("ends", ["hangs", "is cut"])
async def test_a_broker_that_falls_silent_in_the_middle_ends_the_reading(link: LatencyProxy, ends: str) -> None:
    topic = f"silent.{an_id()}"
    await make_topics(link.address, topic, partitions=1)
    async with AIOKafkaProducer(bootstrap_servers=link.address, linger_ms=20) as producer:
        await asyncio.gather(*[await producer.send(topic, bytes(BYTES), partition=0) for _ in range(RECORDS)])
    read = 0
    async with asyncio.timeout(60.0), TopicReader(some_settings(kafka=link.address), silent_s=SILENT_S) as topics:
        with pytest.raises(StoreUnavailable, match="Kafka of region us has sent nothing for 3 s"):
            async for _ in topics.read([topic], [0]):
                read += 1
                if read == 1:
                    if ends == "hangs":
                        link.passing.clear()
                    else:
                        await link.cut()
    assert 0 < read < RECORDS


async def test_the_time_that_the_caller_takes_does_not_count(link: LatencyProxy) -> None:
    topic = f"slow.{an_id()}"
    await make_topics(link.address, topic, partitions=1)
    async with AIOKafkaProducer(bootstrap_servers=link.address) as producer:
        for _ in range(3):
            await producer.send_and_wait(topic, b"x", partition=0)
    async with TopicReader(some_settings(kafka=link.address), silent_s=0.0) as topics:
        assert len([place async for place, _ in topics.read([topic], [0])]) == 3
