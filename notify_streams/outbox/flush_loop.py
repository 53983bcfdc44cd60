"""Flush loop: group commit for the source partitions of one shard.

One flush is in progress at a time; the next one takes everything that was queued meanwhile. A transaction costs about the same for one
trigger as for a thousand, so load makes flushes larger, not slower. Order within a source partition is kept. After a crash the relay
publishes what was committed; everything else is read again.

A partition that takes nothing holds up no other: while the rows of a flush wait for it, the next flushes go on, and only the source
partitions of that flush wait.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from notify_streams import metrics, tasks
from notify_streams.errors import NotifyError, PermanentFailure, StoreUnavailable, UnknownFailure
from notify_streams.failpoints import failpoint
from notify_streams.outbox.decided_batch import RecordOutcome
from notify_streams.outbox.dedup_cache import DedupCache
from notify_streams.outbox.fence_handling import FenceHandler
from notify_streams.outbox.flush_plan import drop_duplicates, plan_flush
from notify_streams.outbox.flush_queue import FlushQueue
from notify_streams.outbox.pending_deletes import PendingDeletes, rows_filter
from notify_streams.outbox.row_publisher import RowPublisher
from notify_streams.outbox.transaction import DuplicateNotifications, LedgerFenced
from notify_streams.records.ids import ledger_id, new_flush_id
from notify_streams.records.outcomes import DeadReason, TriggerOutcome
from notify_streams.retry import RetryPolicy, call_for_each
from notify_streams.tracing.trace_context import trace_fields

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence

    from notify_streams.outbox.decided_batch import DecidedBatch
    from notify_streams.outbox.flush_plan import DeadLetterFor, Flush, OutboxRow
    from notify_streams.outbox.flush_spans import FlushSpans
    from notify_streams.outbox.ledger import Ledger, Source
    from notify_streams.outbox.transaction import FlushStore
    from notify_streams.records.batch import Producer
    from notify_streams.retry import Attempts
    from notify_streams.settings import OutboxSettings
    from notify_streams.stores.sealed_sums import OpenPeriods

log = logging.getLogger(__name__)

_COMMIT_RETRY: Final = RetryPolicy("outbox.commit", first_s=0.05, max_s=2.0, max_unknown_s=30.0)
#: For parts of a flush that failed: an unknown error has lasted already.
_CHECK_RETRY: Final = RetryPolicy("outbox.check", first_s=0.05, max_s=2.0, max_unknown_s=0.0)
#: For a flush that is refused although no single record is.
_REFUSED_RETRY: Final = RetryPolicy("outbox.refused", first_s=1.0, max_s=30.0)
_QUERY_RETRY: Final = RetryPolicy("outbox.query", first_s=0.05, max_s=2.0)
#: So long the next flush waits for the publication of one: what is gathered meanwhile makes it cheaper.
_PUBLISH_WAIT_S: Final = 0.5
_PAUSE_S: Final = 0.05
#: After this many failures a flush of several batches is divided.
_MAX_WHOLE_FAILURES: Final = 2
_IDLE_S: Final = 0.2
_AFTER_ERROR_S: Final = 1.0


class _FlushTooLarge(NotifyError):
    """The transaction did not commit in time; half of it may."""


@dataclass(slots=True, eq=False)
class _Publication:
    """Of a committed flush."""

    flush: Flush
    batches: Sequence[DecidedBatch]
    began_ns: int
    committed_ns: int
    #: Topic and partition → what publishes its rows.
    sends: Mapping[tuple[str, int], asyncio.Task[None]] = field(default_factory=dict)
    #: Of one that takes long: bucket → what acknowledges its batches when its rows are published.
    tasks: dict[int, asyncio.Task[None]] = field(default_factory=dict)
    published: list[OutboxRow] = field(default_factory=list)

    def size_bytes(self) -> int:
        return sum(len(row.document["records"]) for row in self.flush.rows)


class FlushLoop:
    """Flushes the decided batches of all source partitions whose bucket is on one shard."""

    def __init__(
        self,
        role: str,
        shard: int,
        store: FlushStore,
        ledger: Ledger,
        producer: Producer,
        limits: OutboxSettings,
        on_conflict: DeadLetterFor,
        on_bad_record: DeadLetterFor,
        relay_bucket: Callable[[int], Awaitable[object]],
        commit_retry: RetryPolicy = _COMMIT_RETRY,
        periods: OpenPeriods | None = None,
        spans: FlushSpans | None = None,
    ) -> None:
        """`relay_bucket` publishes the rows that another worker left in a bucket. Without `periods` no sums are sealed.

        `spans`: None while tracing is off.
        """
        self._role = role
        self._shard = shard
        self._store = store
        self._publisher = RowPublisher(producer, limits.publish_timeout_s)
        self._limits = limits
        self._on_conflict = on_conflict
        self._on_bad_record = on_bad_record
        self._commit_retry = commit_retry
        self._periods = periods
        self._spans = spans
        self._refused = _REFUSED_RETRY.attempts()
        self._queue = FlushQueue(shard, limits)
        self._fence_handler = FenceHandler(ledger, relay_bucket, self._queue)
        self._dedup_cache = DedupCache()
        self._pending_deletes = PendingDeletes()
        #: Flushes that are being committed or published.
        self._current: set[str] = set()
        #: Those whose publication takes long, by id.
        self._late: dict[str, _Publication] = {}

    def recently_deleted_ids(self) -> frozenset[str]:
        """Flushes whose rows this worker published and deleted within the last minute: a moved bucket may bring a copy of them."""
        return self._pending_deletes.recently_deleted()

    def flush_ids(self) -> frozenset[str]:
        """Flushes whose rows this worker is publishing, or has published and not yet deleted: not to be relayed."""
        return frozenset((*self._pending_deletes, *self._current))

    async def submit(self, batch: DecidedBatch) -> None:
        """Queue a decided batch.

        Waits while the queue is full, or rows of its source partition wait for Kafka: this slows the reading down.
        """
        while batch.ack_handle.current() and (late := self._publishing(batch.partition)):
            await asyncio.wait(late)
        await self._queue.put(batch)

    async def discard(self, sources: Collection[Source] | None) -> None:
        """Drop the queued batches of these partitions, or of all (None): their owner reads them again."""
        if sources is None:
            if self._periods is not None:
                self._periods.forget()
            await self._give_up_late()
        await self._queue.discard(sources)

    async def run(self) -> None:
        """Flush until cancelled. A cancellation at any point loses nothing."""
        try:
            async with asyncio.TaskGroup() as publishing:
                while True:
                    batches: list[DecidedBatch] = []
                    try:
                        if await self._is_due():
                            batches = await self._queue.next_flush()
                            await self._flush(batches, publishing)
                    except Exception:
                        self._current.intersection_update(self._late)
                        await self._read_again(batches)
        finally:
            await self._publisher.stop()

    async def _read_again(self, batches: Sequence[DecidedBatch]) -> None:
        """After an unknown error: it is not known how far their flush came, but the ledger knows."""
        log.exception("flush failed, batches are read again", extra={"action": "flush.fail", "shard": self._shard})
        metrics.FLUSH_RETRIES.labels("error").inc()
        await asyncio.sleep(_AFTER_ERROR_S)
        for batch in batches:
            await self.discard([batch.source])
            batch.ack_handle.refuse(batch.start)

    async def close(self) -> None:
        """Call after `run` has ended: delete published rows, so that they are not relayed. Tries once."""
        if self._pending_deletes:
            await self._delete_published()

    async def _is_due(self) -> bool:
        """Wait for a flush. If none is due within 0.2 s, delete published rows without one; seal sums when their period is over."""
        due_s = None if self._periods is None else self._periods.due_s()
        if await self._queue.wait(within_s=_IDLE_S if self._pending_deletes or self._late else due_s):
            return True
        if self._pending_deletes:
            await self._delete_published()
        if self._periods is not None:
            await self._periods.seal_idle()
        return False

    async def _delete_published(self) -> None:
        published = dict(self._pending_deletes)
        try:
            await self._store.delete_rows(list(published.values()))
        except StoreUnavailable as error:
            log.warning("published rows not deleted yet", extra={"action": "outbox_rows.delete", "error": error})
        else:
            self._pending_deletes.mark_deleted(published)

    async def _flush(self, batches: list[DecidedBatch], publishing: asyncio.TaskGroup) -> None:
        await self._mark_known_duplicates(batches)
        drop_duplicates(batches, self._dedup_cache, self._on_conflict)
        while batches:
            periods = await self._open_periods(batches)
            began_ns = time.time_ns()
            try:
                flush = self._plan(batches, periods)
                with metrics.FLUSH.time():
                    await self._commit(flush, divisible=len(batches) > 1)
            except _FlushTooLarge:
                # An overloaded shard may never finish a large transaction in time, but it finishes small ones.
                metrics.FLUSH_RETRIES.labels("split").inc()
                half = len(batches) // 2
                await self._flush(batches[:half], publishing)
                batches = batches[half:]
            except PermanentFailure as error:
                metrics.FLUSH_RETRIES.labels("refused").inc()
                if self._leave_out(await self._bad_entries(batches)):
                    self._refused.succeeded()
                else:
                    await self._refused.failed(error)
            except DuplicateNotifications:
                metrics.FLUSH_RETRIES.labels("repeats").inc()
                known = await self._known_fingerprints(batches)
                if not known:
                    log.warning(
                        "duplicates are not readable yet", extra={"action": "duplicates.read", "shard": self._shard}
                    )
                    await asyncio.sleep(_PAUSE_S)
                drop_duplicates(batches, known, self._on_conflict)
            except LedgerFenced as fenced:
                metrics.FLUSH_RETRIES.labels("fence").inc()
                if self._periods is not None:
                    self._periods.forget(fenced.ledgers)
                batches = await self._fence_handler.refuse(batches, fenced.ledgers)
            else:
                self._refused.succeeded()
                failpoint("after_commit")
                await self._publish(flush, batches, began_ns, publishing)
                return

    async def _open_periods(self, batches: Sequence[DecidedBatch]) -> Mapping[str, datetime]:
        """The open period of each ledger; the notifications of `batches` name it afterwards."""
        if self._periods is None:
            return {}
        ledgers = {ledger_id(self._role, *batch.source): batch.partition for batch in batches}
        found = await _QUERY_RETRY.call(self._periods.of, ledgers)
        for batch in batches:
            if (period_end := found.get(ledger_id(self._role, *batch.source))) is not None:
                batch.count_in(period_end)
        return found

    def _plan(self, batches: Sequence[DecidedBatch], periods: Mapping[str, datetime] = MappingProxyType({})) -> Flush:
        try:
            return plan_flush(new_flush_id(), self._role, batches, datetime.now(UTC), periods)
        except Exception as error:
            raise PermanentFailure(f"a flush cannot be planned: {type(error).__name__}") from error

    async def _bad_entries(self, batches: Sequence[DecidedBatch]) -> list[tuple[DecidedBatch, int]]:
        """The entries (batch, index) that the database refuses alone, of those that are not left out yet."""
        places = [
            (batch, index)
            for batch in batches
            for index, entry in enumerate(batch.entries)
            if entry.reason != DeadReason.BAD_RECORD.value
        ]
        bad: list[tuple[DecidedBatch, int]] = []
        await call_for_each(_CHECK_RETRY, self._check, places, bad.append)
        return bad

    async def _check(self, places: Sequence[tuple[DecidedBatch, int]]) -> None:
        flush = self._plan([replace(batch, entries=[batch.entries[index]]) for batch, index in places])
        try:
            await self._store.check(flush)
        except DuplicateNotifications:
            return
        except NotifyError:
            raise
        except Exception as error:
            raise UnknownFailure(f"flush: {type(error).__name__}") from error

    def _leave_out(self, bad: Sequence[tuple[DecidedBatch, int]]) -> bool:
        """Replace these entries by dead letters; False if there are none."""
        for batch, index in bad:
            record = batch.entries[index].record
            log.error(
                "record cannot be stored, it becomes a dead letter",
                extra={
                    "action": "record.leave_out",
                    "source": f"{batch.topic}:{batch.partition}:{record.offset}",
                    **trace_fields(record.headers or ()),
                },
            )
            batch.entries[index] = self._on_bad_record(batch.entries[index], batch.topic, batch.partition)
        return bool(bad)

    async def _mark_known_duplicates(self, batches: Sequence[DecidedBatch]) -> None:
        """Turn each trigger that would be forwarded but was notified here before into a duplicate. All earlier flushes are committed."""
        if not any(batch.duplicate_candidates for batch in batches):
            return
        pending = {entry.notification for batch in batches for entry in batch.entries}
        wanted = _by_bucket((batch.partition, batch.duplicate_candidates.values()) for batch in batches)
        known = pending | set(await _QUERY_RETRY.call(self._store.fingerprints, wanted))
        for batch in batches:
            for index, notification_id in batch.duplicate_candidates.items():
                if notification_id in known:
                    batch.entries[index] = RecordOutcome(TriggerOutcome.DUPLICATE, batch.entries[index].record)

    async def _commit(self, flush: Flush, *, divisible: bool) -> None:
        """Commit `flush`; retries without limit while the shard is unavailable.

        Raises:
            DuplicateNotifications, LedgerFenced: nothing was written; the flush has to be changed.
            _FlushTooLarge: it failed `_MAX_WHOLE_FAILURES` times and can be divided.
            PermanentFailure: the shard will never accept it; nothing was written.
        """
        attempts = self._commit_retry.attempts()
        deletes = self._pending_deletes.due()
        self._current.add(flush.id)
        try:
            await self._commit_until_known(flush, deletes, attempts, divisible)
        except BaseException:
            self._current.discard(flush.id)
            raise
        attempts.succeeded()
        self._pending_deletes.mark_deleted(deletes)

    async def _commit_until_known(
        self, flush: Flush, deletes: Mapping[str, Mapping[str, Any]], attempts: Attempts, divisible: bool
    ) -> None:
        while True:
            try:
                if attempts.failures and await self._store.is_committed(flush):
                    break
                if divisible and attempts.failures >= _MAX_WHOLE_FAILURES:
                    raise _FlushTooLarge
                await self._store.write(flush, list(deletes.values()))
                break
            except LedgerFenced:
                if attempts.failures and await _QUERY_RETRY.call(self._store.is_committed, flush):
                    break
                raise
            except StoreUnavailable as error:
                metrics.FLUSH_RETRIES.labels("store").inc()
                await attempts.failed(error)
            except NotifyError:
                raise
            except Exception as error:
                log.exception("unknown error of a flush", extra={"action": "flush.error", "shard": self._shard})
                metrics.FLUSH_RETRIES.labels("error").inc()
                await attempts.failed(UnknownFailure(f"flush: {type(error).__name__}"))

    async def _known_fingerprints(self, batches: Sequence[DecidedBatch]) -> Mapping[str, int]:
        wanted = _by_bucket((batch.partition, [entry.notification for entry in batch.entries]) for batch in batches)
        return await _QUERY_RETRY.call(self._store.fingerprints, wanted)

    async def _publish(
        self, flush: Flush, batches: Sequence[DecidedBatch], began_ns: int, publishing: asyncio.TaskGroup
    ) -> None:
        """Publish and acknowledge a committed flush; returns earlier if that takes long, and then each bucket ends for itself."""
        for batch in batches:
            self._dedup_cache.add(
                {entry.notification: entry.fingerprint for entry in batch.entries if entry.notification}
            )
        one = _Publication(flush, batches, began_ns, time.time_ns())
        with metrics.PUBLISH.time():
            one.sends = self._publisher.begin(flush.rows)
            if one.sends:
                await asyncio.wait(one.sends.values(), timeout=_PUBLISH_WAIT_S)
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
        while (waiting := self._publishing()) and self._late_bytes() > self._limits.waiting_bytes:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)

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

    def _publishing(self, bucket: int | None = None) -> list[asyncio.Task[None]]:
        """What publishes the late rows of a bucket, or all of them."""
        return [
            task
            for one in self._late.values()
            for number, task in one.tasks.items()
            if bucket in (None, number) and not task.done()
        ]

    def _late_bytes(self) -> int:
        return sum(one.size_bytes() for one in self._late.values())

    def _end_late(self, one: _Publication) -> None:
        if one.flush.id in self._late and all(task.done() for task in one.tasks.values()):
            del self._late[one.flush.id]
            self._end(one)

    def _end(self, one: _Publication) -> None:
        self._current.discard(one.flush.id)
        if one.published:
            self._pending_deletes.add(one.flush.id, one.published)
        if self._spans is not None:
            self._spans.add(one.batches, one.began_ns, one.committed_ns)

    async def _give_up_late(self) -> None:
        """Leave rows that were not published to the relay, here or where their bucket is now."""
        given_up, late = list(self._late.values()), self._publishing()
        self._late.clear()
        await tasks.stop([*late, *(send for one in given_up for send in one.sends.values())])
        self._current.difference_update(one.flush.id for one in given_up)
        if conditions := [rows_filter(one.published) for one in given_up if one.published]:
            try:
                await self._store.delete_rows(conditions)
            except StoreUnavailable as error:
                log.warning(
                    "published rows not deleted, they are published again",
                    extra={"action": "outbox_rows.leave", "error": error},
                )


def _by_bucket(pairs: Iterable[tuple[int, Iterable[str | None]]]) -> dict[int, list[str]]:
    by_bucket: dict[int, list[str]] = {}
    for bucket, ids in pairs:
        by_bucket.setdefault(bucket, []).extend(one for one in ids if one is not None)
    return {bucket: ids for bucket, ids in by_bucket.items() if ids}


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
