"""The contract of control logs: the fake in memory and the one in Kafka."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime

import msgspec
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from devtools.chaos.fuzz.records import RawRecord, RawWriter
from devtools.fakes.memory_control_log import MemoryControlLog
from devtools.stack.kafka import Kafka, private_broker
from notify_streams import tasks
from notify_streams.errors import RetryLater
from notify_streams.kafka import KafkaConnection
from notify_streams.regions.failover.command import fail_over
from notify_streams.regions.failover.log import ControlLog, KafkaControlLog
from notify_streams.regions.failover.placement_follower import PlacementFollower
from notify_streams.regions.failover.protocol import ControlRecord
from notify_streams.topics import REGION_CONTROL, REGION_CONTROL_CONFIG
from tests.local_services import or_skipped


def a_record(epoch: int, home: str = "eu") -> ControlRecord:
    return ControlRecord(home, epoch, "claim", "us", f"t{epoch}", datetime(2026, 11, 22, tzinfo=UTC))


def forged(epoch: int) -> bytes:
    return msgspec.json.encode(a_record(1)).replace(b'"epoch":1,', b'"epoch":%d,' % epoch)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    with or_skipped(), private_broker(tmp_path_factory.mktemp("control")) as made:
        yield made


async def make_topic(broker: Kafka) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.address)
    await admin.start()
    await admin.delete_topics([REGION_CONTROL])
    for _ in range(50):
        response = await admin.create_topics(
            [NewTopic(REGION_CONTROL, 1, 1, topic_configs=dict(REGION_CONTROL_CONFIG))]
        )
        if response.topic_errors[0][1] == 0:
            break
        await asyncio.sleep(0.1)
    await admin.close()


@pytest.fixture(params=["memory", "kafka"])
async def log(request: pytest.FixtureRequest) -> AsyncIterator[ControlLog]:
    if request.param == "memory":
        yield MemoryControlLog("us")
        return
    broker = request.getfixturevalue("broker")
    await make_topic(broker)
    made = KafkaControlLog("us", KafkaConnection(broker.address))
    yield made
    await made.close()


async def test_an_empty_log_ends_at_position_0(log: ControlLog) -> None:
    assert await log.read() == ([], 0)


async def test_records_are_read_in_the_order_of_appends(log: ControlLog) -> None:
    records = [a_record(epoch) for epoch in range(1, 6)]
    for record in records:
        await log.append(record)
    found, end = await log.read()
    assert found == records
    assert await log.read(end) == ([], end)
    await log.append(a_record(9))
    assert await log.read(end) == ([a_record(9)], end + 1)


async def test_concurrent_appends_have_one_order(log: ControlLog) -> None:
    await asyncio.gather(*(log.append(a_record(epoch)) for epoch in range(1, 9)))
    first, second = await log.read(), await log.read()
    assert first == second and len(first[0]) == 8


@pytest.mark.parametrize("value", [b"{", b"\xff", None, forged(2**62), forged(0), forged(10**40)])
async def test_what_is_no_control_record_is_passed_over(broker: Kafka, value: bytes | None) -> None:
    await make_topic(broker)
    log = KafkaControlLog("us", KafkaConnection(broker.address))
    async with AIOKafkaProducer(bootstrap_servers=broker.address) as producer:
        await producer.send_and_wait(REGION_CONTROL, value, b"eu")
    await log.append(a_record(1))
    assert await log.read() == ([a_record(1)], 2)
    await log.close()


async def test_a_header_name_that_is_not_utf8_does_not_stop_the_log(broker: Kafka) -> None:
    await make_topic(broker)
    connection = KafkaConnection(broker.address)
    log = KafkaControlLog("us", connection)
    async with RawWriter(connection) as writer:
        await writer.write([RawRecord(REGION_CONTROL, 0, None, b"?", ((b"\xff\xfe", None),))])
    await log.append(a_record(1))
    assert await log.read() == ([a_record(1)], 2)
    await log.close()


async def test_a_log_that_takes_longer_than_the_timeout_to_read_is_read(broker: Kafka) -> None:
    """The log is never deleted, and any client that can write to it decides how long it is: a worker must be able to start."""
    await make_topic(broker)
    connection = KafkaConnection(broker.address)
    async with RawWriter(connection) as writer:
        assert await writer.write([RawRecord(REGION_CONTROL, 0, None, bytes(900_000))] * 300) == 0
    patient = KafkaControlLog("us", connection, timeout_s=60.0)
    await patient.append(a_record(1))
    began = time.monotonic()
    assert await patient.read() == ([a_record(1)], 301)
    took_s = time.monotonic() - began
    await patient.close()
    log = KafkaControlLog("us", connection, timeout_s=max(0.5, took_s / 2))
    assert await log.read() == ([a_record(1)], 301)
    await log.close()


async def test_a_region_that_is_away_is_retry_later_within_the_timeout() -> None:
    log = KafkaControlLog("eu", KafkaConnection("127.0.0.1:9"), timeout_s=1.0)
    began = time.monotonic()
    with pytest.raises(RetryLater, match="region eu does not answer"):
        await log.read()
    with pytest.raises(RetryLater):
        await log.append(a_record(1))
    assert time.monotonic() - began < 5
    await log.close()


async def test_a_region_that_hangs_is_retry_later_within_the_timeout(broker: Kafka) -> None:
    await make_topic(broker)
    log = KafkaControlLog("eu", KafkaConnection(broker.address), timeout_s=1.0)
    await log.append(a_record(1))
    broker.pause()
    try:
        began = time.monotonic()
        with pytest.raises(RetryLater):
            await log.read()
        assert time.monotonic() - began < 5
    finally:
        broker.resume()
    for _ in range(20):
        try:
            assert (await log.read())[0] == [a_record(1)]
            break
        except RetryLater:
            await asyncio.sleep(0.2)
    else:
        raise AssertionError("the log did not come back")
    await log.close()


async def test_a_failover_over_a_real_log_takes_well_under_a_second(broker: Kafka) -> None:
    await make_topic(broker)

    async def fence(_: int) -> None:
        return

    us = KafkaControlLog("us", KafkaConnection(broker.address))
    eu, asia = MemoryControlLog("eu"), MemoryControlLog("asia")
    follower = PlacementFollower(("us", "eu", "asia"), us, {"eu": eu, "asia": asia}, fence)
    await follower.load()
    assert follower.placement is not None
    run = asyncio.create_task(follower.run())
    eu.away = True
    began = time.monotonic()
    operator = KafkaControlLog("us", KafkaConnection(broker.address))
    done = await fail_over({"us": operator, "eu": eu, "asia": asia}, "eu", "us")
    while not follower.placement.serves("eu"):
        await follower.changed(follower.placement.epoch)
    took = time.monotonic() - began
    assert done.away == ("eu",) and took < 3, took
    await tasks.stop([run])
    await operator.close()
    await us.close()
