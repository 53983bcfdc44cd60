"""Consumer groups of a region, read from outside: router members, forward lag."""

from __future__ import annotations

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from devtools.fakes.latency_proxy import LatencyProxy
from notify_streams.errors import RetryLater
from notify_streams.kafka import KafkaConnection
from notify_streams.regions.consumer_groups import committed_offsets, forward_lag, routers_run
from notify_streams.roles import app_id
from tests.integration.regions.remote_topics import make_topics


async def test_a_region_without_router_workers_is_detected(link: LatencyProxy) -> None:
    await make_topics(link.address, "triggers.groups")
    assert not await routers_run(KafkaConnection(link.address), "eu")
    worker = AIOKafkaConsumer("triggers.groups", bootstrap_servers=link.address, group_id=app_id("eu", "standard"))
    await worker.start()
    assert await routers_run(KafkaConnection(link.address), "eu")
    assert not await routers_run(KafkaConnection(link.address), "asia")
    await worker.stop()
    assert not await routers_run(KafkaConnection(link.address), "eu")


async def test_records_that_wait_for_a_region_are_counted(link: LatencyProxy) -> None:
    await make_topics(link.address, "forward.asia", partitions=2)
    async with AIOKafkaProducer(bootstrap_servers=link.address) as producer:
        for number in range(10):
            await producer.send_and_wait("forward.asia", b"x", partition=number % 2)
    assert await forward_lag(KafkaConnection(link.address), "eu", "asia") == 10
    before = await committed_offsets(KafkaConnection(link.address), "eu", "forward")
    worker = AIOKafkaConsumer(
        bootstrap_servers=link.address, group_id=app_id("eu", "forward"), enable_auto_commit=False
    )
    await worker.start()
    worker.assign([TopicPartition("forward.asia", 0), TopicPartition("forward.asia", 1)])
    await worker.commit({TopicPartition("forward.asia", 0): 5, TopicPartition("forward.asia", 1): 2})
    await worker.stop()
    assert await forward_lag(KafkaConnection(link.address), "eu", "asia") == 3
    assert await forward_lag(KafkaConnection(link.address), "eu", "asia", committed=before) == 10, "forwarded since"
    before = {TopicPartition("forward.asia", 0): 5, TopicPartition("forward.asia", 1): 1}
    assert await forward_lag(KafkaConnection(link.address), "eu", "asia", committed=before) == 4


async def test_a_region_that_is_away_is_retry_later() -> None:
    with pytest.raises(RetryLater):
        await routers_run(KafkaConnection("127.0.0.1:9"), "eu", timeout_s=1.0)
