"""What the baselines on bare aiokafka share."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from aiokafka import TopicPartition

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aiokafka import AIOKafkaConsumer, AIOKafkaProducer


def read_from(consumer: AIOKafkaConsumer[bytes, bytes], topic: str, start: Mapping[str, int]) -> None:
    """Assign the partitions of `topic` that `start` has (JSON: partition -> offset), each from its offset on."""
    places = {TopicPartition(topic, int(partition)): offset for partition, offset in start.items()}
    consumer.assign(list(places))
    for place, offset in places.items():
        consumer.seek(place, offset)


async def send_records(
    producer: AIOKafkaProducer[bytes, bytes], topic: str, partition: int, records: Sequence[Any]
) -> None:
    """Copy records to one partition in as few batches as possible; returns when they are acknowledged."""
    futures, batch = [], producer.create_batch()
    for record in records:
        copied = {"key": record.key, "value": record.value, "timestamp": None, "headers": list(record.headers)}
        if batch.append(**copied) is None:
            futures.append(await producer.send_batch(batch, topic, partition=partition))
            batch = producer.create_batch()
            batch.append(**copied)
    futures.append(await producer.send_batch(batch, topic, partition=partition))
    await asyncio.gather(*futures)
