"""Publishes events of deliveries: durable with the attempt, soon on Kafka.

The transaction that stores ends of calls, or receipts, writes one outbox row for all their events; a task publishes and deletes it. So no
event is lost by a crash, and no call and no receipt waits for Kafka. What a worker leaves, the next owner of the row's bucket publishes.
A row is published more than once if a crash comes before its deletion.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

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
from notify_streams.stores.mongo import by_shard
from notify_streams.topics import event_topic

if TYPE_CHECKING:
    from collections.abc import Collection, Coroutine, Iterable, Sequence

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
#: Rows that wait in memory have at most so many events and bytes, and one row more; further rows stay in the database until the next
#: sweep.
_MAX_WAITING: Final = 8_192
_MAX_WAITING_BYTES: Final = 16 * 1024 * 1024
#: After the last attempt the rows stay in the database until the next sweep, so that one topic delays no other for long.
_PUBLISH: Final = RetryPolicy("delivery.events", first_s=0.1, max_s=2.0, max_attempts=5)
#: So long a publication is waited for; then what comes later is published beside it.
_ALONE_S: Final = 2.0
#: So long the events of a partition that took none are left to the sweep.
_LEFT_S: Final = 30.0
_pack: Final = msgspec.msgpack.Encoder().encode


@dataclass(slots=True, eq=False)
class _Publication:
    """Rows that are being published."""

    rows: Sequence[OutboxRow]
    #: Those that are not acknowledged yet.
    waiting: RowsByPartition


class EventOutbox:
    """The events of one worker of a channel role, or of the role `receipts`, which also publishes triggers for the next channel."""

    def __init__(self, role: str, settings: Settings, shards: Shards, producer: Producer) -> None:
        limits = settings.outbox
        self._role = role
        self._shards = shards
        self._producer = producer
        self._topics = {system: event_topic(system) for system in settings.event_systems()}
        self._publish_timeout_s = limits.publish_timeout_s
        self._sweep_every_s = limits.sweep_every_s
        self._relay = Relay(role, shards, producer, limits.transaction_timeout_s)
        self._waiting: list[OutboxRow] = []
        self._waiting_events = self._waiting_bytes = 0
        self._publications: list[_Publication] = []
        self._changed = asyncio.Event()
        self._buckets: frozenset[int] = frozenset()
        #: Of them, those whose rows the last owner may have left: they are published however young they are.
        self._new_buckets: frozenset[int] = frozenset()
        self._look_now = False
        #: Topic and partition → until when (monotonic) its events are left to the sweep, because it took none.
        self._left_until: dict[tuple[str, int], float] = {}
        self._swept_at = 0.0
        self._running: asyncio.Task[None] | None = None
        #: The error that ended the task of `start`: the worker must be restarted.
        self.failed: BaseException | None = None

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
        if rows and self._waiting_events < _MAX_WAITING and self._waiting_bytes < _MAX_WAITING_BYTES:
            self._waiting += rows
            self._count_waiting(rows[0].document, 1)
            self._changed.set()

    def _count_waiting(self, document: Document, sign: int) -> None:
        self._waiting_events += sign * document["count"]
        self._waiting_bytes += sign * sum(len(part["records"]) for part in document["parts"])

    def on_assigned(self, buckets: Collection[int]) -> None:
        """Publish what the last owners of these buckets left, and sweep no others."""
        assigned = frozenset(buckets)
        self._new_buckets = (self._new_buckets & assigned) | (assigned - self._buckets)
        self._buckets = assigned
        self._look_now = True
        self._changed.set()

    async def start(self) -> None:
        """`run` in a task of its own."""
        self._running = asyncio.create_task(self._guarded())

    async def stop(self) -> None:
        await tasks.stop([self._running])

    async def _guarded(self) -> None:
        try:
            await self.run()
        except Exception as error:
            log.exception(
                "events are published no more, the worker must be restarted", extra={"action": "events.crash"}
            )
            self.failed = error

    async def run(self) -> None:
        """Publish until cancelled. A cancellation at any point loses nothing.

        A partition that takes nothing, or whose leader hangs, delays the events of the others by two seconds, once in half a minute.
        """
        sweeping: asyncio.Task[None] | None = None
        async with asyncio.TaskGroup() as under_way:
            while True:
                try:
                    async with asyncio.timeout(self._sweep_every_s):
                        await self._changed.wait()
                except TimeoutError:
                    pass
                self._changed.clear()
                rows, self._waiting = self._waiting, []
                if rows:
                    publishing = under_way.create_task(_with_log(self._publish_rows(rows)))
                    await asyncio.wait([publishing], timeout=_ALONE_S)
                is_due = self._look_now or time.monotonic() > self._swept_at + self._sweep_every_s
                if is_due and (sweeping is None or sweeping.done()):
                    sweeping = under_way.create_task(_with_log(self._sweep()))
                    sweeping.add_done_callback(lambda _: self._changed.set())
                await asyncio.sleep(_EVERY_S)

    async def _publish_rows(self, rows: Sequence[OutboxRow]) -> None:
        """Publish rows and delete them. What a partition does not take stays in the database: it delays no other."""
        now = time.monotonic()
        self._left_until = {place: until for place, until in self._left_until.items() if until > now}
        # Of a partition for which an earlier publication still waits, this one would wait as long.
        others = self._left_until.keys() | {
            place for one in self._publications for place, queue in one.waiting.items() if queue
        }
        waiting = rows_by_partition(row for row in rows if (row.topic, row.partition) not in others)
        documents = {row.document["_id"]: row.document for row in rows}
        publication = _Publication(rows, waiting)
        self._publications.append(publication)
        try:
            if waiting:
                try:
                    await _PUBLISH.call(self._publish, waiting)
                except RetryLater:
                    self._leave(waiting)
                    raise
            left = self._leave(waiting)
            left |= rows_by_partition(row for row in rows if (row.topic, row.partition) not in waiting)
            await self._relay.delete_published(documents.values(), left)
        finally:
            self._publications.remove(publication)
            for document in documents.values():
                self._count_waiting(document, -1)

    def _leave(self, waiting: RowsByPartition) -> RowsByPartition:
        """Leave what was not published to the sweep, and for some time what comes for the same partitions; returns it."""
        left = {place: queue for place, queue in waiting.items() if queue}
        if left:
            self._left_until |= dict.fromkeys(left, time.monotonic() + _LEFT_S)
            log.warning(
                "partitions take no events, which wait in the outbox",
                extra={"action": "events.leave", "partitions": sorted(f"{topic}-{number}" for topic, number in left)},
            )
        return left

    async def _publish(self, rows: RowsByPartition) -> None:
        """Publish what the partitions take, and leave the others in `rows`.

        Raises:
            RetryLater: none of them took anything.
        """
        counts = {place: sum(len(row.records) for row in queue) for place, queue in rows.items() if queue}
        try:
            await publish_in_time(self._producer, rows, self._publish_timeout_s)
        except Exception as error:  # the rows are durable, so any error may be retried
            if all(rows[place] for place in counts):
                raise RetryLater(f"events cannot be published: {type(error).__name__}") from error
        for (topic, partition), count in counts.items():
            if not rows[topic, partition] and topic in self._topics.values():
                metrics.EVENTS.labels(topic).inc(count)

    async def _sweep(self) -> None:
        """Publish rows that no task of this worker is going to publish."""
        rows = chain(self._waiting, *(one.rows for one in self._publications))
        waiting = frozenset(flush_of(row.document["_id"]) for row in rows)
        new, buckets = self._new_buckets, self._buckets
        self._new_buckets, self._look_now, self._swept_at = frozenset(), False, time.monotonic()
        try:
            await tasks.all_ended(
                [
                    *(self._sweep_new(frozenset(mine), waiting) for mine in by_shard(self._shards, new, int).values()),
                    self._relay.drain(buckets - new, older_than_ms=int(2000 * self._sweep_every_s), exclude=waiting),
                ]
            )
        finally:
            await self._relay.show_waiting(buckets)

    async def _sweep_new(self, buckets: frozenset[int], waiting: frozenset[str]) -> None:
        """Of buckets of one shard; if it fails, the next sweep does it again."""
        try:
            await self._relay.drain(buckets, older_than_ms=0, exclude=waiting)
        except RetryLater:
            self._new_buckets |= buckets & self._buckets
            raise


async def _with_log(work: Coroutine[Any, Any, None]) -> None:
    """What cannot be published now stays in the database."""
    try:
        await work
    except RetryLater as error:
        log.warning("events wait in the outbox", extra={"action": "events.publish", "error": error})
