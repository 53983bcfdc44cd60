"""Flush loop: group commit for the source partitions of one shard.

One flush is in progress at a time; the next one takes everything that was queued meanwhile. A transaction costs about the same for one
trigger as for a thousand, so load makes flushes larger, not slower. Order within a source partition is kept. After a crash the relay
publishes what was committed; everything else is read again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from notify_streams import metrics
from notify_streams.errors import NotifyError, PermanentFailure, StoreUnavailable, UnknownFailure
from notify_streams.failpoints import failpoint
from notify_streams.outbox.decided_batch import RecordOutcome
from notify_streams.outbox.dedup_cache import DedupCache
from notify_streams.outbox.fence_handling import FenceHandler
from notify_streams.outbox.flush_commit import COMMIT_RETRY, QUERY_RETRY, FlushCommit, FlushTooLarge
from notify_streams.outbox.flush_plan import drop_duplicates, plan_flush
from notify_streams.outbox.flush_publications import FlushPublications
from notify_streams.outbox.flush_queue import FlushQueue
from notify_streams.outbox.pending_deletes import PendingDeletes
from notify_streams.outbox.transaction import DuplicateNotifications, LedgerFenced
from notify_streams.records.ids import ledger_id, new_flush_id
from notify_streams.records.outcomes import DeadReason, TriggerOutcome
from notify_streams.retry import RetryPolicy, call_for_each
from notify_streams.tracing.trace_context import trace_fields

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence

    from notify_streams.outbox.decided_batch import DecidedBatch
    from notify_streams.outbox.flush_plan import DeadLetterFor, Flush
    from notify_streams.outbox.flush_spans import FlushSpans
    from notify_streams.outbox.ledger import Ledger, Source
    from notify_streams.outbox.transaction import FlushStore
    from notify_streams.records.batch import Producer
    from notify_streams.settings import OutboxSettings
    from notify_streams.stores.sealed_sums import OpenPeriods

log = logging.getLogger(__name__)

#: For parts of a flush that failed: an unknown error has lasted already.
_CHECK_RETRY: Final = RetryPolicy("outbox.check", first_s=0.05, max_s=2.0, max_unknown_s=0.0)
#: For a flush that is refused although no single record is.
_REFUSED_RETRY: Final = RetryPolicy("outbox.refused", first_s=1.0, max_s=30.0)
_PAUSE_S: Final = 0.05
_IDLE_S: Final = 0.2
_AFTER_ERROR_S: Final = 1.0


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
        commit_retry: RetryPolicy = COMMIT_RETRY,
        periods: OpenPeriods | None = None,
        spans: FlushSpans | None = None,
    ) -> None:
        """`relay_bucket` publishes the rows that another worker left in a bucket. Without `periods` no sums are sealed.

        `spans`: None while tracing is off.
        """
        self._role = role
        self._shard = shard
        self._store = store
        self._on_conflict = on_conflict
        self._on_bad_record = on_bad_record
        self._periods = periods
        self._refused = _REFUSED_RETRY.attempts()
        self._queue = FlushQueue(shard, limits)
        self._fence_handler = FenceHandler(ledger, relay_bucket, self._queue)
        self._dedup_cache = DedupCache()
        self._pending_deletes = PendingDeletes()
        self._commit = FlushCommit(shard, store, self._pending_deletes, commit_retry)
        self._publications = FlushPublications(producer, store, limits, self._pending_deletes, self._read_again, spans)
        #: The flush that is being committed.
        self._committing: frozenset[str] = frozenset()

    def recently_deleted_ids(self) -> frozenset[str]:
        """Flushes whose rows this worker published and deleted within the last minute: a moved bucket may bring a copy of them."""
        return self._pending_deletes.recently_deleted()

    def flush_ids(self) -> frozenset[str]:
        """Flushes whose rows this worker is publishing, or has published and not yet deleted: not to be relayed."""
        return self._committing.union(self._pending_deletes, self._publications.flush_ids())

    async def submit(self, batch: DecidedBatch) -> None:
        """Queue a decided batch.

        Waits while the queue is full, or rows of its source partition wait for Kafka: this slows the reading down.
        """
        while batch.ack_handle.current() and (late := self._publications.late_of(batch.partition)):
            await asyncio.wait(late)
        await self._queue.put(batch)

    async def discard(self, sources: Collection[Source] | None) -> None:
        """Drop the queued batches of these partitions, or of all (None): their owner reads them again."""
        if sources is None:
            if self._periods is not None:
                self._periods.forget()
            await self._publications.give_up_late()
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
                        await self._read_again(batches)
        finally:
            await self._publications.stop()

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
        if await self._queue.wait(within_s=_IDLE_S if self._pending_deletes or self._publications.any_late else due_s):
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
                self._committing = frozenset((flush.id,))
                with metrics.FLUSH.time():
                    await self._commit.commit(flush, divisible=len(batches) > 1)
            except FlushTooLarge:
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
                for batch in batches:
                    self._dedup_cache.add(
                        {entry.notification: entry.fingerprint for entry in batch.entries if entry.notification}
                    )
                await self._publications.publish(flush, batches, began_ns, publishing)
                return
            finally:
                self._committing = frozenset()

    async def _open_periods(self, batches: Sequence[DecidedBatch]) -> Mapping[str, datetime]:
        """The open period of each ledger; the notifications of `batches` name it afterwards."""
        if self._periods is None:
            return {}
        ledgers = {ledger_id(self._role, *batch.source): batch.partition for batch in batches}
        found = await QUERY_RETRY.call(self._periods.of, ledgers)
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
        known = pending | set(await QUERY_RETRY.call(self._store.fingerprints, wanted))
        for batch in batches:
            for index, notification_id in batch.duplicate_candidates.items():
                if notification_id in known:
                    batch.entries[index] = RecordOutcome(TriggerOutcome.DUPLICATE, batch.entries[index].record)

    async def _known_fingerprints(self, batches: Sequence[DecidedBatch]) -> Mapping[str, int]:
        wanted = _by_bucket((batch.partition, [entry.notification for entry in batch.entries]) for batch in batches)
        return await QUERY_RETRY.call(self._store.fingerprints, wanted)


def _by_bucket(pairs: Iterable[tuple[int, Iterable[str | None]]]) -> dict[int, list[str]]:
    by_bucket: dict[int, list[str]] = {}
    for bucket, ids in pairs:
        by_bucket.setdefault(bucket, []).extend(one for one in ids if one is not None)
    return {bucket: ids for bucket, ids in by_bucket.items() if ids}
