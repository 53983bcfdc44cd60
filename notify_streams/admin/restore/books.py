"""Steps on the books: timers, outbox rows, ledgers, lost deliveries.

Each may be repeated.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Final

from pymongo import UpdateMany

from notify_streams.admin.restore.positions import closing_entry, reopening
from notify_streams.delivery.attempt_reader import AttemptReader
from notify_streams.delivery.attempts import Attempt, Phase, Rank, attempt_document, delivery_key, key_of
from notify_streams.delivery.delivery_ledger import read_restored
from notify_streams.delivery.event_outbox import EventOutbox
from notify_streams.delivery.message_reader import read_message
from notify_streams.erasure.history import pages
from notify_streams.failpoints import failpoint
from notify_streams.field_errors import DECODE_ERRORS
from notify_streams.outbox.fence import forget_fence
from notify_streams.outbox.relay import Relay
from notify_streams.records.ids import delivery_id, ledger_id, new_flush_id
from notify_streams.records.notification_event import delivery_event
from notify_streams.records.outcomes import DeliveryState, Reason
from notify_streams.roles import CHANNEL_ROLES, LANES, ROLES, channel_of, channel_topic
from notify_streams.stores.mongo import (
    ATTEMPTS,
    LEDGER,
    NOTIFICATIONS,
    OUTBOX,
    SEALED_SUMS,
    TIMERS,
    run_transaction,
    write_in_session,
)
from notify_streams.stores.mongo_errors import mongo_call
from notify_streams.stores.sealed_sums import seal_all
from notify_streams.topics import deleted_after, event_topic

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pymongo.asynchronous.client_session import AsyncClientSession

    from notify_streams.admin.audit.topics import TopicReader
    from notify_streams.admin.restore.situation import Situation
    from notify_streams.preferences.erased_users import ErasedUsers
    from notify_streams.records.batch import OutboxRecord, Producer
    from notify_streams.settings import Settings
    from notify_streams.stores.maintenance import Maintenance
    from notify_streams.stores.mongo import Document, Shards

#: Triggers that wait for their user are read again after those that are decided again: so these are the first.
_WAITING_LATER: Final = timedelta(seconds=30)
#: In place of a worker's token in the id of an attempt.
_OWNER: Final = b"res"
#: Deliveries that one transaction ends.
_AT_ONCE: Final = 500
_FIELDS: Final = dict.fromkeys(
    ("trigger_id", "user_id", "system", "category", "critical", "decided_at", "deliveries"), 1
)


class Books:
    """Those of one region."""

    def __init__(self, settings: Settings, shards: Shards, producer: Producer, situation: Situation) -> None:
        self._settings = settings
        self._shards = shards
        self._producer = producer
        self._situation = situation
        self._timeout_s = settings.outbox.transaction_timeout_s

    async def timers(self) -> Document:
        """Release what dead workers had claimed, and mark each delivery's next call: one after the backup may have been accepted."""
        count = 0
        for shard in range(len(self._shards)):
            mine = {"bucket": {"$in": self._shards.buckets(shard)}}
            deliveries = mine | {"role": {"$in": CHANNEL_ROLES}}
            # A replay that is claimed has been counted, and is a timer as any other.
            claimed = deliveries | {"claim": {"$ne": None}}
            later = datetime.now(UTC) + _WAITING_LATER
            writes = [
                UpdateMany(claimed, {"$set": {"claim": None, "replay": False}}),
                UpdateMany(deliveries, {"$set": {"in_doubt": True}}),
                UpdateMany(mine | {"role": {"$in": LANES}}, {"$max": {"due_at": later}}),
            ]
            with mongo_call(f"release timers on shard {shard}", self._timeout_s):
                collection = self._shards.database(shard)[TIMERS]
                count += await collection.count_documents(deliveries)
                await collection.bulk_write(writes)
        return {"released": count}

    async def outbox(self) -> Document:
        """Publish the rows that the backup has. One that was published before is published twice, as after any crash."""
        published = 0
        for role in ROLES:
            relay = Relay(role, self._shards, self._producer, self._timeout_s)
            published += await relay.drain(self._shards.all_buckets())
        return {"published": published}

    async def positions(self, one: Maintenance, topics: TopicReader) -> Document:
        """Reopen each ledger once, where it goes on in this Kafka."""
        found = self._situation
        # Rows of the outbox have been published since.
        found.extents = await topics.extents({topic for topic, _ in found.extents})
        await seal_all(self._shards, self._timeout_s)
        for shard in range(len(self._shards)):
            with mongo_call(f"reopen ledgers on shard {shard}", self._timeout_s):
                await run_transaction(self._shards.client(shard), partial(self._reopen, one.id, shard))
            failpoint("inside_restore_step")
        if found.is_new and not self._settings.remote_kafka:
            await forget_fence(self._shards)
        return found.summary(one.id)

    async def _reopen(self, restore: str, shard: int, session: AsyncClientSession) -> None:
        """In a transaction: all ledgers of a shard that are not reopened yet, and the closing entries of those whose position jumps."""
        situation, database = self._situation, self._shards.database(shard)
        # Behind the last record that stems from the backup.
        now = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=1)
        query = {"bucket": {"$in": self._shards.buckets(shard)}, "restored.id": {"$ne": restore}}
        updates, closings = [], []
        for ledger in await database[LEDGER].find(query, session=session).to_list():
            role, topic, partition = key = ledger["role"], ledger["topic"], ledger["partition"]
            if key not in situation.ledgers:
                continue  # its topic is not in the settings any more
            found, extent = situation.reopened(key), situation.extents[topic, partition]
            again = situation.again(role, partition, restore)
            changed = reopening(ledger, found, extent, restore=restore, at=now, is_new=situation.is_new, again=again)
            if (closing := closing_entry(ledger, changed, found.shift, self._settings.partitions, now)) is not None:
                closings.append(closing)
                changed["sealed_to"] = closing["period_end"]
                changed["period_end"] = closing["period_end"] + timedelta(seconds=1)
            updates.append({"q": {"_id": ledger["_id"], "bucket": ledger["bucket"]}, "u": {"$set": changed}})
        if updates:
            await write_in_session(session, database, "update", LEDGER, updates=updates)
        if closings:
            await write_in_session(session, database, "insert", SEALED_SUMS, documents=closings)

    async def lost_deliveries(self, one: Maintenance, topics: TopicReader, erased: ErasedUsers) -> Document:
        """End each queued delivery whose message no worker will read, as failed(lost), and count it so."""
        if not any(self._situation.reopened(key, one.id).shift for key in self._situation.ledgers):
            return {}  # each message is where it was
        waiting = await self._messages(topics)
        lost: dict[str, int] = {}
        for bucket in self._shards.all_buckets():
            ledgers = await self._ledgers(bucket)
            queued = _queued(ledgers.values())
            if any(count > ledgers[topic]["fresh"] for topic, count in queued.items() if topic in ledgers):
                for topic, count in (await self._end_lost(bucket, waiting, erased)).items():
                    lost[topic] = lost.get(topic, 0) + count
        relays = [Relay(role, self._shards, self._producer, self._timeout_s) for role in CHANNEL_ROLES]
        for relay in relays:
            await relay.drain(self._shards.all_buckets())
        return lost

    async def _messages(self, topics: TopicReader) -> dict[tuple[str, int], set[bytes]]:
        """The deliveries that workers will find on the channel topics, by topic and bucket."""
        starts = {}
        restored = {}
        for shard in range(len(self._shards)):
            query = {"bucket": {"$in": self._shards.buckets(shard)}, "role": {"$in": CHANNEL_ROLES}}
            with mongo_call(f"read ledgers on shard {shard}", self._timeout_s):
                async for ledger in self._shards.database(shard)[LEDGER].find(query):
                    place = ledger["topic"], ledger["partition"]
                    starts[place], restored[place] = ledger["next_offset"], read_restored(ledger)
        found: dict[tuple[str, int], set[bytes]] = {}
        async for place, record in topics.read(CHANNEL_ROLES, starts=starts):
            try:
                message = read_message(record.value)
            except DECODE_ERRORS:
                continue
            one = restored.get((place.topic, place.partition))
            if one is None or not one.is_superseded(record.offset, message.source_topic, message.source_offset):
                key = delivery_key(message.delivery_id, message.decided_at.timestamp())
                found.setdefault((place.topic, place.partition), set()).add(key)
        return found

    async def _ledgers(self, bucket: int) -> dict[str, Document]:
        """The ledgers of a bucket: channel roles by role, the others by id."""
        with mongo_call(f"read ledgers of bucket {bucket}", self._timeout_s):
            found = await self._shards.collection(LEDGER, bucket).find({"bucket": bucket}).to_list()
        return {one["role"] if one["role"] in CHANNEL_ROLES else one["_id"]: one for one in found}

    async def _end_lost(
        self, bucket: int, waiting: Mapping[tuple[str, int], set[bytes]], erased: ErasedUsers
    ) -> dict[str, int]:
        counts: dict[str, int] = {}
        # Older ones can have no message, whatever became of them.
        oldest = (self._situation.oldest_backup or datetime.now(UTC)) - deleted_after(self._settings)
        reader = AttemptReader(self._shards, self._timeout_s)
        async for page in pages(self._shards, NOTIFICATIONS, bucket, {}, _FIELDS, self._timeout_s):
            queued = {
                key: (topic, one)
                for one in page
                if one["decided_at"] > oldest
                for topic, key in _queued_deliveries(one)
                if key not in waiting.get((topic, bucket), ())
            }
            known = {key_of(attempt["_id"]) for attempt in await reader.documents(bucket, list(queued))}
            for topic in CHANNEL_ROLES:
                ended = [(key, one) for key, (name, one) in queued.items() if name == topic and key not in known]
                for at in range(0, len(ended), _AT_ONCE):
                    failpoint("inside_restore_step")
                    await self._book_lost(topic, bucket, ended[at : at + _AT_ONCE], erased)
                counts[topic] = counts.get(topic, 0) + len(ended)
        return {topic: count for topic, count in counts.items() if count}

    async def _book_lost(
        self, role: str, bucket: int, ended: Sequence[tuple[bytes, Document]], erased: ErasedUsers
    ) -> None:
        now = datetime.now(UTC)
        # Whether a provider took it after the backup is not known.
        attempt = Attempt(Rank.FAILED, int(now.timestamp() * 1000), Reason.LOST.value, in_doubt=True)
        documents = [attempt_document(key, bucket, 1, Phase.CALL, _OWNER, attempt) for key, _ in ended]
        names = await erased.among({one["user_id"]: bucket for _, one in ended})
        events = self._events(role, bucket, [one for _, one in ended if one["user_id"] not in names], now)
        rows = EventOutbox(role, self._settings, self._shards, self._producer).rows_of(new_flush_id(), events)
        count = len(ended)
        step = {
            "q": {"_id": ledger_id(role, role, bucket), "bucket": bucket},
            # No record was read: the position stays.
            "u": {"$inc": {"taken": count, "fresh": count, "failed": count, "first_offset": -count}},
        }

        async def body(session: AsyncClientSession) -> None:
            database = self._shards.database(self._shards.of(bucket))
            await write_in_session(session, database, "insert", ATTEMPTS, documents=documents)
            await write_in_session(session, database, "update", LEDGER, updates=[step])
            if rows:
                await write_in_session(session, database, "insert", OUTBOX, documents=[rows[0].document])

        with mongo_call(f"end deliveries of bucket {bucket}", self._timeout_s):
            await run_transaction(self._shards.client(self._shards.of(bucket)), body)

    def _events(self, role: str, bucket: int, ended: Sequence[Document], now: datetime) -> list[OutboxRecord]:
        channel = channel_of(role)
        return [
            (
                event_topic(one["system"]),
                bucket,
                one["user_id"].encode(),
                delivery_event(
                    one["_id"],
                    one["trigger_id"],
                    one["user_id"],
                    one["category"],
                    channel,
                    DeliveryState.FAILED.value,
                    Reason.LOST.value,
                    now,
                    1,
                ),
                (),
            )
            for one in ended
            if one["system"] in self._settings.event_systems()
        ]


def _queued(ledgers: Iterable[Document]) -> dict[str, int]:
    """Deliveries that the routers of a bucket queued, by channel topic."""
    found: dict[str, int] = {}
    for one in ledgers:
        for topic, count in one.get("queued", {}).items():
            found[topic] = found.get(topic, 0) + count
    return found


def _queued_deliveries(notification: Document) -> Iterator[tuple[str, bytes]]:
    """Topic and key of each delivery that was queued when it was decided."""
    decided_s = notification["decided_at"].timestamp()
    for channel, delivery in notification["deliveries"].items():
        if delivery["state"] == DeliveryState.QUEUED:
            yield (
                channel_topic(channel, notification["critical"]),
                delivery_key(delivery_id(notification["_id"], channel), decided_s),
            )
