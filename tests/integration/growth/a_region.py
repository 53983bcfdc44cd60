"""A region with people, deliveries and closed books, without workers."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from notify_streams.admin.audit.topics import TopicReader
from notify_streams.admin.shards import init_shards
from notify_streams.admin.table_rebuild import TABLES, rebuild
from notify_streams.admin.topics import ensure_topics
from notify_streams.delivery.attempts import Attempt, Phase, Rank, attempt_document, delivery_key
from notify_streams.delivery.delivery_ledger import DeliveryLedger
from notify_streams.delivery.timers import new_timer
from notify_streams.erasure.store import ErasureStore, OpenErasure
from notify_streams.outbox.decided_batch import DecidedBatch, RecordOutcome
from notify_streams.outbox.outbox import Outbox
from notify_streams.preferences.choices import ChoiceChange
from notify_streams.preferences.repository import PreferenceRepository
from notify_streams.records.channel_message import read_channel_message
from notify_streams.records.partitioner import bucket_of
from notify_streams.records.user_records import Contacts, LocationRecord
from notify_streams.registry.contact_repository import ContactRepository
from notify_streams.routing.outcome_records import bad_record, id_conflict
from notify_streams.routing.waiting_triggers import waiting
from notify_streams.settings import Settings
from notify_streams.stores.mongo import ATTEMPTS, LEDGER, TIMERS, Shards
from notify_streams.transport import BatchProducer
from tests.builders import NOON, AckRecorder, ARecord, a_decided_batch, an_outcome, trigger_json
from tests.waiting import until

TRIGGERS = "triggers.payments"
KEY = b"k" * 32
#: Erased, and in another bucket after the growth: the first one for good, the second one is under way.
ERASED = tuple(name for name in (f"gone-{number}" for number in range(50)) if bucket_of(name, 4) >= 2)[:2]
#: A delivery of every fifth person waits for another attempt.
WAITS_EVERY = 5


@dataclass(frozen=True, slots=True)
class ARegion:
    settings: Settings
    shards: Shards
    producer: BatchProducer
    people: tuple[str, ...]

    def bucket(self, user_id: str) -> int:
        return bucket_of(user_id, self.settings.partitions)

    async def all_of(self, name: str) -> list[dict[str, Any]]:
        """The documents of a collection; without the marks of preference readers."""
        texts = {"_id": {"$not": {"$type": "number"}}}
        return [
            one
            for shard in range(len(self.shards))
            for one in await self.shards.database(shard)[name].find(texts).to_list()
        ]


@asynccontextmanager
async def a_region(settings: Settings, people: int) -> AsyncIterator[ARegion]:
    """Everything is dropped at the end but the topics."""
    producer = BatchProducer(settings.kafka_connection(), client_id="test")
    async with Shards(settings) as shards:
        await ensure_topics(settings)
        await init_shards(settings, shards)
        await producer.start()
        try:
            region = ARegion(settings, shards, producer, tuple(f"u-{number}" for number in range(people)))
            await _sign_up(region)
            await _notify(region)
            await _deliver(region)
            yield region
        finally:
            await producer.stop()
            for shard in range(len(shards)):
                await shards.client(shard).drop_database(settings.database)


async def _sign_up(region: ARegion) -> None:
    now = datetime.now(UTC)
    await ContactRepository(region.shards).apply(
        (region.bucket(one), Contacts(one, now, f"token-{one}", None, f"{one}@example.org")) for one in region.people
    )
    changes = [(region.bucket(one), one, ChoiceChange(2, "push", False, now)) for one in region.people]
    await PreferenceRepository(region.shards).apply(changes)
    await rebuild(region.settings, list(TABLES), lambda *_: None)
    for topic in ("user_locations", "edge.pop"):
        for partition in range(region.settings.partitions):
            rows = [
                (one.encode(), msgspec.json.encode(LocationRecord(one, "us")), ())
                for one in region.people
                if region.bucket(one) == partition
            ]
            await region.producer.send_batch(topic, partition, rows)
    erasures = ErasureStore(region.shards, KEY, 5.0)
    for one in ERASED:
        await erasures.open(one, region.bucket(one), now - timedelta(hours=1))
    first = next(one for one in await erasures.take_due(now) if one.user_id == ERASED[0])
    await _finish(erasures, first, now)


async def _finish(erasures: ErasureStore, one: OpenErasure, now: datetime) -> None:
    await erasures.first_pass_made(one, now, now)
    await erasures.finish(one, now)


async def _notify(region: ARegion) -> None:
    """One notification a person, by push; in each bucket one more trigger waits for its user."""
    outboxes = {
        role: Outbox(region.settings, role, region.shards, region.producer, id_conflict, bad_record)
        for role in ("standard", "critical")
    }
    acks = AckRecorder()
    for outbox in outboxes.values():
        sources = {(TRIGGERS, bucket): 0 for bucket in range(region.settings.partitions)}
        await outbox.ledger.open(sources)
        await outbox.start()
    expected = 0
    for bucket in range(region.settings.partitions):
        entries = _decided(region, bucket)
        records = [(None, entry.record.value, ()) for entry in entries]
        await region.producer.send_batch(TRIGGERS, bucket, records)
        await outboxes["standard"].submit(a_decided_batch(*entries, partition=bucket, acks=acks))
        other = DecidedBatch(TRIGGERS, bucket, 0, len(entries), [], len(entries), acks)
        await outboxes["critical"].submit(other)
        expected += 2
    await until(lambda: acks.acknowledged == expected)
    for outbox in outboxes.values():
        await outbox.stop()


def _decided(region: ARegion, bucket: int) -> list[RecordOutcome]:
    mine = [one for one in region.people if region.bucket(one) == bucket]
    entries = []
    for offset, user_id in enumerate(mine):
        outcome = an_outcome(f"t-{user_id}", user_id=user_id, bucket=bucket, offset=offset)
        outcome.record = ARecord(trigger_json(id=f"t-{user_id}", user_id=user_id), offset=offset)
        entries.append(outcome)
    unknown = next(
        name
        for name in (f"new-{number}" for number in range(1000))
        if region.bucket(name) == bucket and bucket_of(name, 2 * region.settings.partitions) != bucket
    )
    record = ARecord(trigger_json(id=f"w-{bucket}", user_id=unknown), offset=len(mine))
    return [*entries, waiting(record, "standard", TRIGGERS, bucket, datetime.now(UTC) + timedelta(hours=1))]


async def _deliver(region: ARegion) -> None:
    """As the role push leaves it: most are sent, some wait for another attempt."""
    await DeliveryLedger(region.shards, "push", 5.0).open(dict.fromkeys(range(region.settings.partitions), 0))
    counts: dict[int, Counter[str]] = {bucket: Counter() for bucket in range(region.settings.partitions)}
    attempts: dict[int, list[dict[str, Any]]] = {bucket: [] for bucket in counts}
    timers: dict[int, list[dict[str, Any]]] = {bucket: [] for bucket in counts}
    async with TopicReader(region.settings) as topics:
        async for place, record in topics.read(["push"]):
            message = read_channel_message(record.value or b"")
            key = delivery_key(message.delivery_id, NOON.timestamp())
            waits = int(message.user_id.removeprefix("u-")) % WAITS_EVERY == 0
            rank = Rank.RETRYING if waits else Rank.SENT
            attempt = Attempt(rank, int(time.time() * 1000), None, "fcm")
            attempts[place.partition].append(attempt_document(key, place.partition, 1, Phase.CALL, b"own", attempt))
            counts[place.partition].update(("taken", "fresh", "retrying" if waits else "sent"))
            if waits:
                due_ms = int(time.time() * 1000) + 3_600_000
                timer = new_timer(key, place.partition, "push", due_ms, 1, False, record.value or b"", provider="fcm")
                timers[place.partition].append(timer)
    for bucket, found in counts.items():
        end = found["taken"]
        update = {"$set": {"next_offset": end, "claimed_to": end} | found}
        await region.shards.collection(LEDGER, bucket).update_one({"_id": f"push:push:{bucket}"}, update)
        await region.shards.collection(ATTEMPTS, bucket).insert_many(attempts[bucket])
        await region.shards.collection(TIMERS, bucket).insert_many(timers[bucket])


async def rows_of(settings: Settings, topic: str) -> Mapping[str, tuple[int, bytes]]:
    """User id → partition and last value of each row that a compacted topic has; in one partition only."""
    last: dict[tuple[str, int], bytes | None] = {}
    async with TopicReader(settings) as topics:
        async for place, record in topics.read([topic]):
            assert record.key is not None
            last[record.key.decode(), place.partition] = record.value
    rows: dict[str, tuple[int, bytes]] = {}
    for (user_id, partition), value in last.items():
        if value is not None:
            assert user_id not in rows, f"{user_id} has rows in two partitions of {topic}"
            rows[user_id] = partition, value
    return rows
