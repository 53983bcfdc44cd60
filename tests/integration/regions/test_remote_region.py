"""Forwarding batches to another region over a slow link: order, duplicates, failures, concurrency."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator

import pytest

from devtools.fakes.latency_proxy import LatencyProxy
from notify_streams.errors import RetryLater
from notify_streams.kafka import KafkaConnection
from notify_streams.regions.forwarding.headers import forwarded_headers
from notify_streams.regions.forwarding.partition_queues import PartitionQueues
from notify_streams.regions.forwarding.remote_region import RemoteRegion
from notify_streams.retry import RetryPolicy
from notify_streams.settings import Settings
from notify_streams.transport import RecordBatch
from tests.integration.regions.remote_topics import Record, an_id, make_topics, read_all, triggers
from tests.waiting import until

FORWARDED = "triggers.forwarded"


@pytest.fixture
async def remote(link: LatencyProxy, some_settings: Settings) -> AsyncIterator[RemoteRegion]:
    await make_topics(link.address, FORWARDED, "user_locations", "user_signups")
    made = RemoteRegion("eu", KafkaConnection(link.address), some_settings)
    await made.start()
    yield made
    link.passing.set()
    await made.stop()


async def arrived(link: LatencyProxy, partition: int, tag: str, topic: str = FORWARDED) -> list[bytes]:
    delay, link.delay_s = link.delay_s, 0.0
    try:
        records = await read_all(link.address, topic, partition)
    finally:
        link.delay_s = delay
    return [record.value.split(b" ")[0] for record in records if record.value.startswith(tag.encode())]


def values(batch: RecordBatch) -> list[bytes]:
    return [(record.value or b"").split(b" ")[0] for record in batch.records]


async def test_connections_open_before_the_first_batch(remote: RemoteRegion) -> None:
    await until(lambda: remote.state.connected)


async def test_a_record_that_this_regions_topics_took_is_taken_there(remote: RemoteRegion, link: LatencyProxy) -> None:
    """Kafka limits compressed bytes: a record may be larger than the batches that are sent."""
    tag = an_id()
    small = triggers(6, 0, 3, tag)
    large = Record(b"u-1", b"%s-1 %s" % (tag.encode(), bytes(1_500_000)), small.records[1].headers)
    batch = RecordBatch(small.topic, 6, 0, 3, [small.records[0], large, small.records[2]])
    await remote.forward(batch)
    assert await arrived(link, 6, tag) == values(batch)


async def test_a_batch_arrives_in_order_in_its_own_partition(remote: RemoteRegion, link: LatencyProxy) -> None:
    tag = an_id()
    batch = triggers(5, 0, 1500, tag)
    await remote.forward(batch)
    assert await arrived(link, 5, tag) == values(batch)
    assert remote.state.connected and remote.state.handed_over == 1500 and remote.state.in_hand == {}


async def test_a_batch_that_takes_longer_than_one_kafka_batch_may_arrives_once(
    remote: RemoteRegion, link: LatencyProxy
) -> None:
    tag = an_id()
    await remote.forward(triggers(5, 0, 1, an_id()))
    small = triggers(5, 1, 9, tag)
    large = [
        Record(record.key or b"", (record.value or b"").split(b" ")[0] + b" " + os.urandom(900_000), record.headers)
        for record in small.records
    ]
    batch = RecordBatch(small.topic, 5, 1, 10, large)
    link.delay_s = 0.5  # each way, so longer than the time-out of 3 s for all of them
    await remote.forward(batch)
    assert await arrived(link, 5, tag) == values(batch)


async def test_records_arrive_on_their_target_topic_with_hops_and_origin_but_without_target(
    remote: RemoteRegion, link: LatencyProxy
) -> None:
    tag = an_id()
    here = [("traceparent", b"00"), ("critical", b"1")]
    records = [
        Record(b"u-1", f"{tag}-trigger".encode(), forwarded_headers(here, "us", FORWARDED)),
        Record(b"u-1", f"{tag}-location".encode(), forwarded_headers((), "us", "user_locations")),
        Record(b"u-2", f"{tag}-signup".encode(), forwarded_headers((), "us", "user_signups")),
    ]
    await remote.forward(RecordBatch("forward.eu", 2, 0, len(records), records))
    for topic, what in ((FORWARDED, "trigger"), ("user_locations", "location"), ("user_signups", "signup")):
        assert await arrived(link, 2, tag, topic) == [f"{tag}-{what}".encode()]
    found = [record for record in await read_all(link.address, FORWARDED, 2) if record.value.startswith(tag.encode())]
    assert dict(found[0].headers) == {"traceparent": b"00", "critical": b"1", "hops": b"1", "origin": b"us"}


async def test_a_region_that_does_not_answer_costs_bounded_time_and_gets_everything_later(
    remote: RemoteRegion, link: LatencyProxy
) -> None:
    tag = an_id()
    await remote.forward(triggers(1, 0, 10, tag))
    link.passing.clear()
    began = time.monotonic()
    with pytest.raises(RetryLater) as caught:
        await remote.forward(triggers(1, 10, 50, tag))
    assert time.monotonic() - began < 8
    assert "u-" not in str(caught.value)
    assert remote.state.failing_since is not None and remote.state.in_hand == {1: 50}
    link.passing.set()
    await _forward_until_accepted(remote, triggers(1, 10, 50, tag))
    found = await arrived(link, 1, tag)
    assert list(dict.fromkeys(found)) == [f"{tag}-{number}".encode() for number in range(60)]
    assert remote.state.failing_since is None


async def test_after_a_cut_link_every_record_arrives_in_order(remote: RemoteRegion, link: LatencyProxy) -> None:
    tag = an_id()
    queues = PartitionQueues(remote, RetryPolicy("test", 0.05, 0.5))
    acknowledged: list[int] = []
    sending = asyncio.create_task(_submit(queues, tag, acknowledged))
    await until(lambda: acknowledged)
    await link.cut()
    await asyncio.sleep(1.0)
    await link.start()
    await sending
    await until(lambda: len(acknowledged) == 24, within_s=30)
    for partition in range(3):
        found = list(dict.fromkeys(await arrived(link, partition, tag)))
        assert found == [f"{tag}-{number}".encode() for number in range(8 * 200)]
    await queues.stop()


async def _submit(queues: PartitionQueues, tag: str, acknowledged: list[int]) -> None:
    for number in range(8):
        for partition in range(3):
            batch = triggers(partition, number * 200, 200, tag)
            await queues.submit(batch, lambda number=number: acknowledged.append(number))  # type: ignore[misc]
        await asyncio.sleep(0.1)


async def _forward_until_accepted(remote: RemoteRegion, batch: RecordBatch) -> None:
    async with asyncio.timeout(30):
        await RetryPolicy("test", first_s=0.2, max_s=0.2).call(remote.forward, batch)


async def test_a_region_that_is_not_there_is_retry_later_at_once(some_settings: Settings) -> None:
    remote = RemoteRegion("eu", KafkaConnection("127.0.0.1:9"), some_settings)
    await remote.start()
    with pytest.raises(RetryLater, match="no connection"):
        await remote.forward(triggers(0, 0, 1))
    assert not remote.state.connected
    await remote.stop()


async def test_partitions_are_sent_concurrently_over_a_slow_link(remote: RemoteRegion, link: LatencyProxy) -> None:
    await remote.forward(triggers(0, 0, 1, "warm"))
    queues = PartitionQueues(remote)
    link.delay_s = 0.1
    done = asyncio.Event()
    left = 8 * 5
    began = time.monotonic()

    def acknowledge() -> None:
        nonlocal left
        left -= 1
        if not left:
            done.set()

    for number in range(5):
        for partition in range(8):
            await queues.submit(triggers(partition, 1 + number * 500, 500, an_id()), acknowledge)
    await asyncio.wait_for(done.wait(), 30)
    took = time.monotonic() - began
    assert took < 8 * 5 * 0.2 * 0.6, f"{took:.1f} s: the partitions waited for one another"
    await queues.stop()


async def test_a_revoked_partition_acknowledges_nothing_more(remote: RemoteRegion, link: LatencyProxy) -> None:
    link.passing.clear()
    queues = PartitionQueues(remote, RetryPolicy("test", 0.05, 0.1))
    acknowledged: list[int] = []
    await queues.submit(triggers(4, 0, 5, an_id()), lambda: acknowledged.append(1))
    await until(lambda: 4 in remote.state.in_hand)
    queues.on_revoked({4})
    link.passing.set()
    await asyncio.sleep(1.0)
    assert acknowledged == []
    await queues.stop()


async def test_queued_batches_are_sent_as_one_and_acknowledged_in_order(
    remote: RemoteRegion, link: LatencyProxy
) -> None:
    tag = an_id()
    queues = PartitionQueues(remote)
    acknowledged: list[int] = []

    async def took_s(first: int, count: int) -> float:
        began = time.monotonic()
        for number in range(first, first + count):
            batch = triggers(6, number * 50, 50, tag)
            await queues.submit(batch, lambda number=number: acknowledged.append(number))  # type: ignore[misc]
        await until(lambda: len(acknowledged) == first + count, within_s=20)
        return time.monotonic() - began

    await took_s(0, 1)  # connects
    one_s = await took_s(1, 1)
    assert await took_s(2, 12) < 6 * one_s, "each batch waited for the one before it"
    assert acknowledged == list(range(14))
    assert await arrived(link, 6, tag) == [f"{tag}-{number}".encode() for number in range(700)]
    await queues.stop()


async def test_no_partition_waits_for_another_partitions_round_trip(remote: RemoteRegion, link: LatencyProxy) -> None:
    for partition in range(8):
        await remote.forward(triggers(partition, 0, 1, "warm"))
    link.delay_s = 1.0
    slow = asyncio.create_task(remote.forward(triggers(0, 1, 1, an_id())))
    await until(lambda: 0 in remote.state.in_hand)
    began = time.monotonic()
    await asyncio.gather(*(remote.forward(triggers(partition, 1, 1, an_id())) for partition in range(1, 8)))
    assert time.monotonic() - began < 2.0 + 1.0, "they waited for the response to partition 0"
    await slow
