"""Publishes committed flushes of one shard, then acknowledges their batches.

A partition that takes nothing holds up no other: while the rows of a flush wait for it, the next flushes go on, and only the source
partitions of that flush wait.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from notify_streams import metrics, tasks
from notify_streams.errors import StoreUnavailable
from notify_streams.failpoints import failpoint
from notify_streams.outbox.pending_deletes import rows_filter
from notify_streams.outbox.row_publisher import RowPublisher
from notify_streams.records.outcomes import TriggerOutcome

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from notify_streams.outbox.decided_batch import DecidedBatch
    from notify_streams.outbox.flush_plan import Flush, OutboxRow
    from notify_streams.outbox.flush_spans import FlushSpans
    from notify_streams.outbox.pending_deletes import PendingDeletes
    from notify_streams.outbox.transaction import FlushStore
    from notify_streams.records.batch import Producer
    from notify_streams.settings import OutboxSettings

log = logging.getLogger(__name__)

#: So long the next flush waits for the publication of one: what is gathered meanwhile makes it cheaper.
_WAIT_S: Final = 0.5


@dataclass(slots=True, eq=False)
class _Publication:
    """Of one flush."""

    flush: Flush
    batches: Sequence[DecidedBatch]
    began_ns: int
    committed_ns: int
    #: Topic and partition → what publishes its rows.
    sends: Mapping[tuple[str, int], asyncio.Task[None]]
    #: Of one that takes long: bucket → what acknowledges its batches when its rows are published.
    tasks: dict[int, asyncio.Task[None]] = field(default_factory=dict)
    published: list[OutboxRow] = field(default_factory=list)

    def size_bytes(self) -> int:
        return sum(len(row.document["records"]) for row in self.flush.rows)


class FlushPublications:
    """What is published of one flush loop."""

    def __init__(
        self,
        producer: Producer,
        store: FlushStore,
        limits: OutboxSettings,
        pending_deletes: PendingDeletes,
        read_again: Callable[[Sequence[DecidedBatch]], Awaitable[None]],
        spans: FlushSpans | None,
    ) -> None:
        """Published rows are added to `pending_deletes`; `read_again` gets batches whose publication failed with an unknown error."""
        self._publisher = RowPublisher(producer, limits.publish_timeout_s)
        self._store = store
        self._waiting_bytes = limits.waiting_bytes
        self._pending_deletes = pending_deletes
        self._read_again = read_again
        self._spans = spans
        #: By flush id.
        self._under_way: dict[str, _Publication] = {}
        #: Those that take long.
        self._late: dict[str, _Publication] = {}

    @property
    def any_late(self) -> bool:
        return bool(self._late)

    def flush_ids(self) -> frozenset[str]:
        """Flushes whose rows are being published."""
        return frozenset(self._under_way)

    def late_of(self, bucket: int | None = None) -> list[asyncio.Task[None]]:
        """What publishes the late rows of a bucket, or all of them."""
        return [
            task
            for one in self._late.values()
            for number, task in one.tasks.items()
            if bucket in (None, number) and not task.done()
        ]

    async def publish(
        self, flush: Flush, batches: Sequence[DecidedBatch], began_ns: int, publishing: asyncio.TaskGroup
    ) -> None:
        """Publish and acknowledge a committed flush.

        Returns earlier if that takes long. Then each bucket ends for itself, in a task of `publishing`.
        """
        with metrics.PUBLISH.time():
            one = _Publication(flush, batches, began_ns, time.time_ns(), self._publisher.begin(flush.rows))
            self._under_way[flush.id] = one
            if one.sends:
                await asyncio.wait(one.sends.values(), timeout=_WAIT_S)
        if all(send.done() for send in one.sends.values()):
            try:
                for send in one.sends.values():
                    send.result()
                self._acknowledge(one, flush.rows, batches)
            finally:
                self._end(one)
            return
        self._late[flush.id] = one
        for bucket in {batch.partition for batch in batches}:
            one.tasks[bucket] = task = publishing.create_task(self._acknowledge_when_published(one, bucket))
            task.add_done_callback(lambda _: self._end_late(one))
        while (waiting := self.late_of()) and self._late_bytes() > self._waiting_bytes:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)

    async def give_up_late(self) -> None:
        """Leave rows that were not published to the relay, here or where their bucket is now."""
        given_up, late = list(self._late.values()), self.late_of()
        self._late.clear()
        await tasks.stop([*late, *(send for one in given_up for send in one.sends.values())])
        for one in given_up:
            self._under_way.pop(one.flush.id, None)
        if conditions := [rows_filter(one.published) for one in given_up if one.published]:
            try:
                await self._store.delete_rows(conditions)
            except StoreUnavailable as error:
                log.warning(
                    "published rows not deleted, they are published again",
                    extra={"action": "outbox_rows.leave", "error": error},
                )

    async def stop(self) -> None:
        """Cancel what Kafka has not acknowledged."""
        await self._publisher.stop()

    async def _acknowledge_when_published(self, one: _Publication, bucket: int) -> None:
        batches = [batch for batch in one.batches if batch.partition == bucket]
        rows = [row for row in one.flush.rows if row.bucket == bucket]
        try:
            for target in {(row.topic, row.partition): None for row in rows}:
                await asyncio.shield(one.sends[target])
            self._acknowledge(one, rows, batches)
        except Exception:
            await self._read_again(batches)

    def _acknowledge(self, one: _Publication, rows: Sequence[OutboxRow], batches: Sequence[DecidedBatch]) -> None:
        """Kafka has these rows, which are all of the batches."""
        failpoint("after_publish")
        one.published += rows
        _count(batches)
        failpoint("before_acknowledge")
        for batch in batches:
            batch.ack_handle.ack()
        failpoint("after_acknowledge")

    def _late_bytes(self) -> int:
        return sum(one.size_bytes() for one in self._late.values())

    def _end_late(self, one: _Publication) -> None:
        if one.flush.id in self._late and all(task.done() for task in one.tasks.values()):
            del self._late[one.flush.id]
            self._end(one)

    def _end(self, one: _Publication) -> None:
        del self._under_way[one.flush.id]
        if one.published:
            self._pending_deletes.add(one.flush.id, one.published)
        if self._spans is not None:
            self._spans.add(one.batches, one.began_ns, one.committed_ns)


def _count(batches: Sequence[DecidedBatch]) -> None:
    outcomes = dict.fromkeys(TriggerOutcome, 0)
    other_lane = 0
    for batch in batches:
        other_lane += batch.other_lane
        if batch.lost:
            metrics.LOST.labels(batch.topic).inc(batch.lost)
        for entry in batch.entries:
            outcomes[entry.outcome] += 1
            if entry.reason is not None:
                metrics.DEAD_LETTERS.labels(entry.reason).inc()
    for outcome, count in outcomes.items():
        if count:
            metrics.TRIGGERS.labels(outcome.value).inc(count)
    metrics.OTHER_LANE.inc(other_lane)
