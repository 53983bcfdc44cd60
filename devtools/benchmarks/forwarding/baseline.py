"""The forwarding baseline: a plain aiokafka loop from one cluster to another.

`getmany`, `send_batch`, commit; no partition queues, no headers read, no Faust.

``python -m devtools.benchmarks.forwarding.baseline HERE FAR``: reads `forward.eu` from the offsets on its standard input until it is
stopped.
"""

from __future__ import annotations

import asyncio
import json
import sys

from devtools.benchmarks.baselines import read_from, send_records
from devtools.benchmarks.forwarding.load import SOURCE, TARGET
from notify_streams import kafka
from notify_streams.gc_tuning import tune_gc
from notify_streams.kafka import KafkaConnection
from notify_streams.transport import TransportSettings


async def main(here: str, far: str, start: dict[str, int]) -> None:
    """Forward until the process is stopped, with the sizes, guarantees and compression of the forward role."""
    same = TransportSettings()
    consumer = kafka.consumer(
        KafkaConnection(here),
        group="bench-baseline",
        isolation_level=same.isolation_level,
        max_partition_fetch_bytes=same.max_partition_fetch_bytes,
        fetch_max_bytes=same.fetch_max_bytes,
        fetch_max_wait_ms=same.fetch_max_wait_ms,
    )
    producer = kafka.producer(
        KafkaConnection(far), max_batch_size=same.max_produce_bytes, compression_type=same.compression
    )
    async with producer, consumer:
        read_from(consumer, SOURCE, start)
        tune_gc()
        print("reading", flush=True)
        while True:
            found = await consumer.getmany(timeout_ms=1000)
            await asyncio.gather(
                *(send_records(producer, TARGET, place.partition, records) for place, records in found.items())
            )
            if found:
                await consumer.commit({place: records[-1].offset + 1 for place, records in found.items()})


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], json.loads(sys.stdin.readline())))
