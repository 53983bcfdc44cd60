"""Group commit: one flush under way per shard; meanwhile everything gathers, and the next flush takes all that waits.

A transaction costs about as much for one trigger as for a thousand, so the flush grows with the load and the latency does not.
Order within a source partition is kept. On any crash: what was committed is published by the relay, the rest is read again.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from notify_streams import metrics
from notify_streams.errors import NotifyError, StoreUnavailable
from notify_streams.failpoints import failpoint
from notify_streams.outbox.decided_batch import RecordOutcome
from notify_streams.outbox.dedup_cache import DedupCache
from notify_streams.outbox.fence_handling import FenceHandler
from notify_streams.outbox.flush_plan import drop_duplicates, plan_flush
from notify_streams.outbox.flush_queue import FlushQueue
from notify_streams.outbox.pending_deletes import PendingDeletes
from notify_streams.outbox.publisher import lanes_of, publish
from notify_streams.outbox.row_ids import new_flush_id
from notify_streams.outbox.transaction import DuplicateNotifications, LedgerFenced
from notify_streams.records.outcomes import TriggerOutcome
from notify_streams.retry import STORE, RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence

    from notify_streams.outbox.decided_batch import DecidedBatch
    from notify_streams.outbox.flush_plan import Flush, OnConflict
    from notify_streams.outbox.ledger import Ledger, Source
    from notify_streams.outbox.transaction import FlushStore
    from notify_streams.records.batch import Producer
    from notify_streams.settings import OutboxSettings

log = logging.getLogger(__name__)

_FLUSH_RETRIES: Final = RetryPolicy("flush", first_s=0.05, max_s=2.0)
_PUBLISH_RETRIES: Final = RetryPolicy("publish", first_s=0.05, max_s=2.0)
_PAUSE_S: Final = 0.05
#: How often a flush is tried as it is before it is divided.
_TRIES_WHOLE: Final = 2
_IDLE_S: Final = 0.2
_AFTER_ERROR_S: Final = 1.0


async def _nobody_relays(bucket: int) -> None:
    """For a group commit alone."""


class _TooLong(NotifyError):
    """The transaction did not come through in time; half of it may."""


class FlushLoop:
    """The way out for all source partitions whose bucket lives on one shard."""

    def __init__(
        self,
        role: str,
        shard: int,
        store: FlushStore,
        ledger: Ledger,
        producer: Producer,
        limits: OutboxSettings,
        on_conflict: OnConflict,
        relay_bucket: Callable[[int], Awaitable[object]] = _nobody_relays,
    ) -> None:
        """`relay_bucket` publishes what others left in a bucket: asked when another worker wrote there."""
        self._role = role
        self._shard = shard
        self._store = store
        self._producer = producer
        self._limits = limits
        self._on_conflict = on_conflict
        self._waiting = FlushQueue(shard, limits)
        self._refusals = FenceHandler(ledger, relay_bucket, self._waiting)
        self._recent = DedupCache()
        #: Rows that are published and may go.
        self._published = PendingDeletes()
        self._under_way: str | None = None

    def deleted_ids(self) -> frozenset[str]:
        """Flushes whose rows this worker has published and deleted lately: a bucket that is moved may bring a copy of them along."""
        return self._published.deleted_lately()

    def flush_ids(self) -> frozenset[str]:
        """Flushes whose rows this worker publishes, or has published and not deleted yet: nobody need relay them."""
        under_way = () if self._under_way is None else (self._under_way,)
        return frozenset((*self._published, *under_way))

    async def submit(self, batch: DecidedBatch) -> None:
        """Queue a decided batch; waits while too much is waiting, which is what slows the reading down."""
        await self._waiting.put(batch)

    async def forget(self, sources: Collection[Source] | None) -> None:
        """Drop what waits for these partitions, or for all: whoever owns them now reads it again."""
        await self._waiting.forget(sources)

    async def run(self) -> None:
        """Flush for ever. Cancelling it at any moment loses nothing."""
        while True:
            batches: list[DecidedBatch] = []
            try:
                await self._idle()
                batches = await self._waiting.take()
                await self._flush(batches)
            except Exception:
                # Nobody foresaw it, so nobody knows how far the flush came; the ledger does. Read from it again.
                log.exception("a flush failed", extra={"action": "flush", "shard": self._shard})
                metrics.FLUSH_RETRIES.labels("error").inc()
                self._under_way = None
                await asyncio.sleep(_AFTER_ERROR_S)
                for batch in batches:
                    await self.forget([batch.source])
                    batch.delivered.refuse(batch.start)

    async def close(self) -> None:
        """After `run` has ended: delete what is published, so that nobody publishes it again. Tries once."""
        if self._published:
            await self._delete_published()

    async def _idle(self) -> None:
        """Wait for a batch. Published rows go with its transaction or a later one; where none comes soon, on their own."""
        if not await self._waiting.some(within_s=_IDLE_S if self._published else None):
            await self._delete_published()

    async def _delete_published(self) -> None:
        try:
            await self._store.delete_rows(list(self._published.values()))
        except StoreUnavailable as error:
            log.warning("published rows stay for now", extra={"action": "delete_rows", "error": str(error)})
        else:
            self._published.are_deleted(list(self._published))

    async def _flush(self, batches: list[DecidedBatch]) -> None:
        await self._look_for(batches)
        drop_duplicates(batches, self._recent, self._on_conflict)
        while batches:
            flush = plan_flush(new_flush_id(), self._role, batches, datetime.now(UTC))
            try:
                with metrics.FLUSH.time():
                    await self._commit(flush, divisible=len(batches) > 1)
            except _TooLong:
                # A starved shard may never finish a large transaction in time, but it finishes small ones.
                metrics.FLUSH_RETRIES.labels("split").inc()
                half = len(batches) // 2
                await self._flush(batches[:half])
                batches = batches[half:]
            except DuplicateNotifications:
                metrics.FLUSH_RETRIES.labels("repeats").inc()
                known = await self._known(batches)
                if not known:
                    log.warning("repeats cannot be read yet", extra={"action": "flush", "shard": self._shard})
                    await asyncio.sleep(_PAUSE_S)
                drop_duplicates(batches, known, self._on_conflict)
            except LedgerFenced as mismatch:
                metrics.FLUSH_RETRIES.labels("fence").inc()
                batches = await self._refusals.hand_back(batches, mismatch.moved)
            else:
                failpoint("after_commit")
                await self._after_commit(flush, batches)
                return

    async def _look_for(self, batches: Sequence[DecidedBatch]) -> None:
        """Make a duplicate of each trigger that would go on to another region and was notified here: all earlier flushes are committed."""
        if not any(batch.look_for for batch in batches):
            return
        in_hand = {entry.notification for batch in batches for entry in batch.entries}
        wanted = _by_bucket((batch.partition, batch.look_for.values()) for batch in batches)
        known = in_hand | set(await STORE.call(self._store.known, wanted))
        for batch in batches:
            for place, identity in batch.look_for.items():
                if identity in known:
                    batch.entries[place] = RecordOutcome(TriggerOutcome.DUPLICATE, batch.entries[place].record)

    async def _commit(self, flush: Flush, *, divisible: bool) -> None:
        """Commit `flush`, however often the shard has to be asked.

        Raises:
            Repeats, Mismatch: the flush does not hold and cannot as it is.
            _TooLong: it did not hold `_TRIES_WHOLE` times, and can be divided.
        """
        attempts = _FLUSH_RETRIES.attempts()
        published = self._published.due()
        self._under_way = flush.id
        while True:
            try:
                if attempts.failures and await self._store.holds(flush):
                    break
                if divisible and attempts.failures >= _TRIES_WHOLE:
                    raise _TooLong
                await self._store.write(flush, list(published.values()))
                break
            except LedgerFenced:
                if attempts.failures and await STORE.call(self._store.holds, flush):
                    break
                raise
            except StoreUnavailable as error:
                metrics.FLUSH_RETRIES.labels("store").inc()
                await attempts.failed(error)
        self._published.are_deleted(published)

    async def _known(self, batches: Sequence[DecidedBatch]) -> Mapping[str, int]:
        wanted = _by_bucket((batch.partition, [entry.notification for entry in batch.entries]) for batch in batches)
        return await STORE.call(self._store.known, wanted)

    async def _after_commit(self, flush: Flush, batches: Sequence[DecidedBatch]) -> None:
        with metrics.PUBLISH.time():
            await self._publish(flush)
        failpoint("after_publish")
        if flush.rows:
            self._published.add(flush.id, flush.rows)
        self._under_way = None
        _count(batches)
        for batch in batches:
            self._recent.add({entry.notification: entry.fingerprint for entry in batch.entries if entry.notification})
        failpoint("before_acknowledge")
        for batch in batches:
            batch.delivered.ack()
        failpoint("after_acknowledge")

    async def _publish(self, flush: Flush) -> None:
        attempts = _PUBLISH_RETRIES.attempts()
        lanes = lanes_of(flush.rows)
        while True:
            try:
                async with asyncio.timeout(self._limits.publish_timeout_s):
                    await publish(self._producer, lanes)
                return
            except Exception as error:  # the rows are durable: whatever hinders publishing, it is tried again
                metrics.FLUSH_RETRIES.labels("broker").inc()
                await attempts.failed(error)


def _by_bucket(found: Iterable[tuple[int, Iterable[str | None]]]) -> dict[int, list[str]]:
    by_bucket: dict[int, list[str]] = {}
    for bucket, identities in found:
        by_bucket.setdefault(bucket, []).extend(identity for identity in identities if identity is not None)
    return {bucket: identities for bucket, identities in by_bucket.items() if identities}


def _count(batches: Sequence[DecidedBatch]) -> None:
    outcomes = dict.fromkeys(TriggerOutcome, 0)
    other_lane = 0
    for batch in batches:
        other_lane += batch.other_lane
        for entry in batch.entries:
            outcomes[entry.outcome] += 1
            if entry.reason is not None:
                metrics.DEAD_LETTERS.labels(entry.reason).inc()
    for outcome, count in outcomes.items():
        if count:
            metrics.TRIGGERS.labels(outcome.value).inc(count)
    metrics.OTHER_LANE.inc(other_lane)
