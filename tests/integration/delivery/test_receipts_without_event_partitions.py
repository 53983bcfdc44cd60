"""Partitions of an event topic without a leader, or whose leader hangs, hold no receipts and no other events up."""

import asyncio
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from devtools.stack.kafka import Kafka, private_brokers
from notify_streams import metrics
from notify_streams.delivery.receipts import ReceiptProgress
from notify_streams.kafka import KafkaConnection
from notify_streams.records.ids import notification_id
from notify_streams.records.notification_event import read_event
from notify_streams.stores.mongo import NOTIFICATIONS, OUTBOX
from notify_streams.transport import BatchProducer, TransportSettings
from tests.builders import ABatch, ARecord, an_outcome
from tests.integration.delivery.delivery_fixtures import DeliveryEnvironment, receipt_events, receipt_writer
from tests.integration.transport.kafka_topics import a_topic, admin_of
from tests.integration.transport.test_partitions_without_a_leader import partitions_of, values_of
from tests.waiting import until

TIMEOUT_S = 2.0
TOPIC = "notification_events.payments"


@pytest.fixture(scope="module")
def brokers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Kafka, Kafka]]:
    folder: Path = tmp_path_factory.mktemp("kafka")
    with private_brokers(folder) as both:
        yield both


async def notify(env: DeliveryEnvironment, bucket: int, trigger_id: str) -> None:
    document = an_outcome(trigger_id, bucket=bucket).document
    assert document is not None
    await env.shards.collection(NOTIFICATIONS, bucket).insert_one(document)


async def no_rows(env: DeliveryEnvironment) -> bool:
    return not any([await env.shards.database(shard)[OUTBOX].count_documents({}) for shard in range(len(env.shards))])


async def trigger_ids(address: str, partition: int) -> set[str]:
    """Of the events that the partition has."""
    return {str(read_event(value).trigger_id) for value in await values_of(address, TOPIC, partition)}


def _oldest_row_s() -> float:
    return metrics.REGISTRY.get_sample_value("notify_outbox_oldest_seconds") or 0.0


class Producer:
    """A producer that keeps whose events were acknowledged: a consumer cannot be asked while a broker hangs."""

    def __init__(self, producer: BatchProducer) -> None:
        self._producer = producer
        self._acknowledged: set[str] = set()

    async def send_batch(self, topic: str, partition: int, records: Any) -> None:
        await self._producer.send_batch(topic, partition, records)
        self._acknowledged |= {str(read_event(value).trigger_id) for _, value, _ in records}

    def has(self, trigger_id: str) -> bool:
        return trigger_id in self._acknowledged


@pytest.mark.parametrize("hangs", [False, True], ids=["away", "hangs"])
async def test_receipts_and_the_events_of_others_go_on(
    env: DeliveryEnvironment,
    brokers: tuple[Kafka, Kafka],
    running: Callable[[Any], asyncio.Task[Any]],
    hangs: bool,
) -> None:
    first, second = brokers
    case = "hangs" if hangs else "away"
    async with admin_of(first.address) as admin:
        is_there = TOPIC in await admin.list_topics()
    if not is_there:
        await a_topic(first.address, env.settings.partitions, TOPIC)
    here, there = await partitions_of(first.address, TOPIC)
    settings = TransportSettings(produce_timeout_s=TIMEOUT_S, compression=None)
    client = BatchProducer(KafkaConnection(first.address), settings)
    await client.start()
    producer = Producer(client)
    events = receipt_events(env.shards, producer)
    events.on_assigned([here, there])
    running(events.run())
    writer = receipt_writer(env.shards, events)

    async def apply(number: int) -> None:
        """Receipts for both people in one batch, whose partition is another one."""
        ids = [f"{case}-{place}-{number}" for place in ("here", "there")]
        for trigger_id, bucket in zip(ids, (here, there), strict=True):
            await notify(env, bucket, trigger_id)
        deliveries = [f"{notification_id(one, 'u-42', 'payments')}.push" for one in ids]
        values = [
            json.dumps({"delivery_id": one, "state": "delivered", "at": "2026-11-22T12:00:00Z"}).encode()
            for one in deliveries
        ]
        batch = ABatch([ARecord(value, offset=at) for at, value in enumerate(values)], topic="receipts", partition=here)
        await asyncio.wait_for(writer.apply(batch, ReceiptProgress()), 15)

    try:
        await apply(0)
        await until(partial(no_rows, env))
        (second.pause if hangs else second.stop)()
        try:
            for number in range(1, 4):
                await apply(number)
                await until(partial(producer.has, f"{case}-here-{number}"), "the other event, during the outage")
            await until(lambda: _oldest_row_s() > 0, "the rows that wait are in the metric", within_s=60)
        finally:
            second.start()
        await until(partial(no_rows, env), within_s=60)
        await until(lambda: _oldest_row_s() == 0, within_s=60)
        for place, partition in (("here", here), ("there", there)):
            assert {f"{case}-{place}-{number}" for number in range(4)} <= await trigger_ids(first.address, partition)
    finally:
        await client.stop()
