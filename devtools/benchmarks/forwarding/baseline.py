"""The forwarding baseline: a plain aiokafka loop from one cluster to another.

`getmany`, `send_batch`, commit; no partition queues, no headers read, no Faust.

``python -m devtools.benchmarks.forwarding.baseline HERE FAR``: reads `forward.eu` from the offsets on its standard input until it is
stopped.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from devtools.benchmarks.forwarding.load import SOURCE, TARGET
from notify_streams.gc_tuning import tune_gc
from notify_streams.transport import TransportSettings


async def main(here: str, far: str, start: dict[str, int]) -> None:
    """Forward until the process is stopped, with the sizes, guarantees and compression of the forward role."""
    same = TransportSettings()
    consumer = AIOKafkaConsumer(
        bootstrap_servers=here,
        group_id="bench-baseline",
        enable_auto_commit=False,
        isolation_level=same.isolation_level,
        max_partition_fetch_bytes=same.max_partition_fetch_bytes,
        fetch_max_bytes=same.fetch_max_bytes,
        fetch_max_wait_ms=same.fetch_max_wait_ms,
    )
    producer = AIOKafkaProducer(
        bootstrap_servers=far,
        acks="all",
        enable_idempotence=True,
        max_batch_size=same.max_produce_bytes,
        compression_type=same.compression,
    )
    await producer.start()
    await consumer.start()
    places = {TopicPartition(SOURCE, int(partition)): offset for partition, offset in start.items()}
    consumer.assign(list(places))
    for place, offset in places.items():
        consumer.seek(place, offset)
    tune_gc()
    print("reading", flush=True)
    while True:
        found = await consumer.getmany(timeout_ms=1000)
        await asyncio.gather(*(_send(producer, place.partition, records) for place, records in found.items()))
        if found:
            await consumer.commit({place: records[-1].offset + 1 for place, records in found.items()})


async def _send(producer: AIOKafkaProducer, partition: int, records: list[Any]) -> None:
    futures, batch = [], producer.create_batch()
    for record in records:
        headers = list(record.headers)
        if batch.append(key=record.key, value=record.value, timestamp=None, headers=headers) is None:
            futures.append(await producer.send_batch(batch, TARGET, partition=partition))
            batch = producer.create_batch()
            batch.append(key=record.key, value=record.value, timestamp=None, headers=headers)
    futures.append(await producer.send_batch(batch, TARGET, partition=partition))
    await asyncio.gather(*futures)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], json.loads(sys.stdin.readline())))
