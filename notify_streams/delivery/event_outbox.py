"""Publishes events of deliveries: durable with the attempt, soon on Kafka.

The settling transaction writes one outbox row for all events of a flush; a task publishes and deletes it. So no event is lost by a crash,
and no call waits for Kafka. What a worker leaves, the next owner of the row's bucket publishes. A row is published more than once
if a crash comes before its deletion.
"""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import UTC, datetime
from operator import itemgetter
from typing import TYPE_CHECKING, Final

import msgspec

from notify_streams import metrics, tasks
from notify_streams.errors import RetryLater
from notify_streams.outbox.flush_plan import OutboxRow
from notify_streams.outbox.publisher import publish_in_time, rows_by_partition
from notify_streams.outbox.relay import Relay
from notify_streams.outbox.row_ids import flush_of, row_id
from notify_streams.records.ids import new_flush_id
from notify_streams.records.notification_event import delivery_event, system_of_message
from notify_streams.retry import RetryPolicy
from notify_streams.stores.mongo import OUTBOX, by_shard
from notify_streams.stores.mongo_errors import mongo_call
from notify_streams.topics import event_topic

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from notify_streams.delivery.attempts import Attempt
    from notify_streams.outbox.flush_plan import Packed
    from notify_streams.outbox.publisher import RowsByPartition
    from notify_streams.records.batch import OutboxRecord, Producer
    from notify_streams.records.channel_message import ChannelMessage
    from notify_streams.settings import Settings
    from notify_streams.stores.mongo import Document, Shards

log = logging.getLogger(__name__)

#: The least time between two publications: more events in one batch cost less.
_EVERY_S: Final = 0.25
#: Rows that wait in memory have at most so many events; those of further rows stay in the database until the next sweep.
_MAX_WAITING: Final = 8_192
#: After the last attempt the rows stay in the database until the next sweep, so that one topic delays no other for long.
_PUBLISH: Final = RetryPolicy("delivery.events", first_s=0.1, max_s=2.0, max_attempts=5)
_pack: Final = msgspec.msgpack.Encoder().encode


class EventOutbox:
    """The events of one channel role's worker."""

    def __init__(self, role: str, settings: Settings, shards: Shards, producer: Producer) -> None:
        limits = settings.outbox
        self._role = role
        self._shards = shards
        self._producer = producer
        self._topics = {system: event_topic(system) for system in settings.event_systems()}
        self._store_timeout_s = limits.transaction_timeout_s
        self._publish_timeout_s = limits.publish_timeout_s
        self._sweep_every_s = limits.sweep_every_s
        self._relay = Relay(role, shards, producer, limits.transaction_timeout_s)
        self._waiting: list[OutboxRow] = []
        self._waiting_events = 0
        self._changed = asyncio.Event()
        self._buckets: frozenset[int] = frozenset()
        #: Of them, those whose rows the last owner may have left: they are published however young they are.
        self._new_buckets: frozenset[int] = frozenset()
        self._look_now = False
        self._swept_at = 0.0

    def event_of(self, message: ChannelMessage, bucket: int, attempt: Attempt, number: int) -> OutboxRecord | None:
        """The event of an attempt that ends a delivery; None if its system has none."""
        topic = self._topics.get(system_of_message(message) or "")
        if topic is None:
            return None
        event = delivery_event(
            message.notification_id,
            message.trigger_id,
            message.user_id,
            message.category,
            message.channel,
            attempt.state.value,
            attempt.reason,
            datetime.fromtimestamp(attempt.at_ms / 1000, UTC),
            number,
        )
        return topic, bucket, message.user_id.encode(), event, ()

    def rows_of_ends(self, events: Iterable[OutboxRecord | None]) -> list[OutboxRow]:
        """The rows of ends of deliveries outside a flush, of one bucket. None is an end whose system has no events."""
        return self.rows_of(new_flush_id(), [event for event in events if event is not None])

    def rows_of(self, flush_id: str, events: Sequence[OutboxRecord]) -> list[OutboxRow]:
        """A row for each topic and partition, all with the same document: that of the flush. Call `committed` when it is durable."""
        if not events:
            return []
        records_of: dict[tuple[str, int], list[Packed]] = {}
        for topic, partition, key, value, headers in events:
            records_of.setdefault((topic, partition), []).append((key, value, headers))
        bucket = events[0][1]
        parts = [
            {"topic": topic, "partition": partition, "records": _pack(records)}
            for (topic, partition), records in records_of.items()
        ]
        document = {
            "_id": row_id(self._role, bucket, flush_id, 0),
            "bucket": bucket,
            "count": len(events),
            "parts": parts,
        }
        return [
            OutboxRow(bucket, topic, partition, records, document) for (topic, partition), records in records_of.items()
        ]

    def committed(self, rows: Sequence[OutboxRow]) -> None:
        """Publish rows whose document is durable."""
        if rows and self._waiting_events < _MAX_WAITING:
            self._waiting += rows
            self._waiting_events += rows[0].document["count"]
            self._changed.set()

    def on_assigned(self, buckets: Collection[int]) -> None:
        """Publish what the last owners of these buckets left, and sweep no others."""
        assigned = frozenset(buckets)
        self._new_buckets = (self._new_buckets & assigned) | (assigned - self._buckets)
        self._buckets = assigned
        self._look_now = True
        self._changed.set()

    async def run(self) -> None:
        """Publish until cancelled. A cancellation at any point loses nothing."""
        while True:
            try:
                async with asyncio.timeout(self._sweep_every_s):
                    await self._changed.wait()
            except TimeoutError:
                pass
            self._changed.clear()
            rows, self._waiting, self._waiting_events = self._waiting, [], 0
            try:
                if rows:
                    await _PUBLISH.call(self._publish, rows_by_partition(rows))
                    await self._delete([row.document for row in rows])
                if self._look_now or time.monotonic() > self._swept_at + self._sweep_every_s:
                    await self._sweep()
            except RetryLater as error:
                log.warning("events wait in the outbox", extra={"action": "events.publish", "error": error})
            await asyncio.sleep(_EVERY_S)

    async def _publish(self, rows: RowsByPartition) -> None:
        """A call after an error repeats only what may be missing."""
        counts = {topic: 0 for topic, _ in rows}
        for (topic, _), queue in rows.items():
            counts[topic] += sum(len(row.records) for row in queue)
        try:
            await publish_in_time(self._producer, rows, self._publish_timeout_s)
        except Exception as error:  # the rows are durable, so any error may be retried
            raise RetryLater(f"events cannot be published: {type(error).__name__}") from error
        for topic, count in counts.items():
            metrics.EVENTS.labels(topic).inc(count)

    async def _delete(self, documents: Sequence[Document]) -> None:
        shards = by_shard(self._shards, documents, itemgetter("bucket"))
        await tasks.all_ended(self._delete_on(shard, mine) for shard, mine in shards.items())

    async def _delete_on(self, shard: int, documents: Sequence[Document]) -> None:
        buckets = sorted({one["bucket"] for one in documents})
        query = {"bucket": {"$in": buckets}, "_id": {"$in": [one["_id"] for one in documents]}}
        with mongo_call(f"delete published events on shard {shard}", self._store_timeout_s):
            await self._shards.database(shard)[OUTBOX].delete_many(query)

    async def _sweep(self) -> None:
        """Publish rows that no task of this worker is going to publish."""
        waiting = frozenset(flush_of(row.document["_id"]) for row in self._waiting)
        new, buckets = self._new_buckets, self._buckets
        self._new_buckets, self._look_now, self._swept_at = frozenset(), False, time.monotonic()
        await tasks.all_ended(
            [
                *(self._sweep_new(frozenset(mine), waiting) for mine in by_shard(self._shards, new, int).values()),
                self._relay.drain(buckets - new, older_than_ms=int(2000 * self._sweep_every_s), exclude=waiting),
            ]
        )

    async def _sweep_new(self, buckets: frozenset[int], waiting: frozenset[str]) -> None:
        """Of buckets of one shard; if it fails, the next sweep does it again."""
        try:
            await self._relay.drain(buckets, older_than_ms=0, exclude=waiting)
        except RetryLater:
            self._new_buckets |= buckets & self._buckets
            raise
