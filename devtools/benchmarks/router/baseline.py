"""The router's baseline: a plain aiokafka loop that writes the same documents.

One transaction, `send_batch`, delete, commit for each fetch, and nothing else.

``python -m devtools.benchmarks.router.baseline REGION COUNT``: reads `triggers.payments` from the offsets on its standard input; prints
the number of triggers and the seconds from the first batch to the last acknowledgement.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
from pymongo import InsertOne, ReplaceOne
from pymongo.read_concern import ReadConcern

from devtools.benchmarks.baselines import read_from
from devtools.benchmarks.router.load import TOPIC
from notify_streams import kafka
from notify_streams.gc_tuning import tune_gc
from notify_streams.records.ids import new_flush_id
from notify_streams.settings import Settings, load_settings
from notify_streams.settings_folder import local_overlay
from notify_streams.stores.mongo import DURABLE, LEDGER, NOTIFICATIONS, OUTBOX, Shards
from notify_streams.transport import BatchProducer

if TYPE_CHECKING:
    from aiokafka import TopicPartition

_pack = msgspec.msgpack.Encoder().encode


async def main(region: str, wanted: int, start: dict[str, int]) -> None:
    """Process `wanted` triggers and print how long it took."""
    settings = msgspec.structs.replace(load_settings(region, overlay=local_overlay(region)), database="bench_baseline")
    done, began = 0, 0.0
    consumer = kafka.consumer(
        settings.kafka_connection(),
        group="bench-baseline",
        isolation_level="read_committed",
        max_partition_fetch_bytes=1024 * 1024,
        fetch_max_wait_ms=settings.broker.fetch_max_wait_ms,
    )
    producer = BatchProducer(settings.kafka_connection())
    await producer.start()
    async with Shards(settings) as shards, consumer:
        read_from(consumer, TOPIC, start)
        tune_gc()
        while done < wanted:
            found = await consumer.getmany(timeout_ms=200, max_records=settings.outbox.flush_records)
            began = began or time.perf_counter()
            waiting: dict[int, dict[TopicPartition, list[Any]]] = {shard: {} for shard in range(len(shards))}
            for place, records in found.items():
                waiting[shards.of(place.partition)][place] = records
            flushes = [
                _flush(settings, shards, producer, shard, batches) for shard, batches in waiting.items() if batches
            ]
            for offsets, count in await asyncio.gather(*flushes):
                await consumer.commit(offsets)
                done += count
        print(json.dumps({"triggers": done, "seconds": time.perf_counter() - began}))
    await producer.stop()


async def _flush(
    settings: Settings, shards: Shards, producer: BatchProducer, shard: int, batches: dict[TopicPartition, list[Any]]
) -> tuple[dict[TopicPartition, int], int]:
    now = datetime.now(UTC)
    flush_id = new_flush_id()
    documents, ledgers, count = [], [], 0
    rows: dict[tuple[str, int], list[Any]] = {}
    for place, records in batches.items():
        for record in records:
            two = b'"email"' in record.value
            notification_id = f"{flush_id}-{place.partition}-{record.offset}-0123456789abcdef"
            deliveries = {"push": {"state": "queued", "attempts": 0, "at": now}}
            if two:
                deliveries["email"] = {"state": "queued", "attempts": 0, "at": now}
            documents.append(
                _document(notification_id, place.partition, record.key.decode(), settings.region, now, deliveries)
            )
            headers = [("id", notification_id.encode()), ("critical", b"0")]
            rows.setdefault(("push", place.partition), []).append((record.key, record.value, headers))
            if two:
                rows.setdefault(("email", place.partition), []).append((record.key, record.value, headers))
        count += len(records)
        next_offset = records[-1].offset + 1
        ledger = {"_id": f"baseline:{place.topic}:{place.partition}", "bucket": place.partition}
        ledgers.append(ReplaceOne(ledger, {"bucket": place.partition, "next_offset": next_offset}, upsert=True))
    packed = [
        {"_id": f"{flush_id}-{topic}-{partition}", "bucket": partition, "topic": topic, "records": _pack(records)}
        for (topic, partition), records in rows.items()
    ]
    database = shards.database(shard)

    async def body(session: Any) -> None:
        await database[LEDGER].bulk_write(ledgers, ordered=False, session=session)
        await database[NOTIFICATIONS].insert_many(documents, session=session)
        await database[OUTBOX].bulk_write([InsertOne(row) for row in packed], ordered=False, session=session)

    async with shards.client(shard).start_session() as session:
        await session.with_transaction(body, read_concern=ReadConcern("snapshot"), write_concern=DURABLE)
    await asyncio.gather(
        *(producer.send_batch(topic, partition, records) for (topic, partition), records in rows.items())
    )
    await database[OUTBOX].delete_many({"_id": {"$in": [row["_id"] for row in packed]}})
    return {place: records[-1].offset + 1 for place, records in batches.items()}, count


def _document(
    notification_id: str, bucket: int, user_id: str, region: str, now: datetime, deliveries: Any
) -> dict[str, Any]:
    return {
        "_id": notification_id,
        "bucket": bucket,
        "trigger_id": notification_id,
        "user_id": user_id,
        "category": "payments",
        "critical": False,
        "lane": "standard",
        "region": region,
        "decided_at": now,
        "preference_version": 0,
        "deliveries": deliveries,
        "fingerprint": 0,
        "period_end": now,
    }


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), json.loads(sys.stdin.read())))
