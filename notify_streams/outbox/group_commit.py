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
from notify_streams.failpoints import reach
from notify_streams.outbox.flush import drop_repeats, plan_flush
from notify_streams.outbox.published import Published
from notify_streams.outbox.publisher import lanes_of, publish
from notify_streams.outbox.recent import Recent
from notify_streams.outbox.refusals import Refusals
from notify_streams.outbox.rows import new_flush_id
from notify_streams.outbox.taken import Entry
from notify_streams.outbox.transaction import Mismatch, Repeats
from notify_streams.outbox.waiting import Waiting
from notify_streams.records.reasons import Outcome
from notify_streams.stores.insist import insist

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence

    from notify_streams.outbox.flush import Flush, OnConflict
    from notify_streams.outbox.ledger import Ledger, Source
    from notify_streams.outbox.publisher import Producer
    from notify_streams.outbox.taken import Taken
    from notify_streams.outbox.transaction import FlushStore
    from notify_streams.settings import Outbox

log = logging.getLogger(__name__)

_FIRST_PAUSE_S: Final = 0.05
_LONGEST_PAUSE_S: Final = 2.0
#: How often a flush is tried as it is before it is divided.
_TRIES_WHOLE: Final = 2
_IDLE_S: Final = 0.2
_AFTER_ERROR_S: Final = 1.0


async def _nobody_relays(bucket: int) -> None:
    """For a group commit alone."""


class _TooLong(NotifyError):
    """The transaction did not come through in time; half of it may."""


class GroupCommit:
    """The way out for all source partitions whose bucket lives on one shard."""

    def __init__(
        self,
        role: str,
        shard: int,
        store: FlushStore,
        ledger: Ledger,
        producer: Producer,
        limits: Outbox,
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
        self._waiting = Waiting(shard, limits)
        self._refusals = Refusals(ledger, relay_bucket, self._waiting)
        self._recent = Recent()
        #: Rows that are published and may go.
        self._published = Published()
        self._under_way: str | None = None

    def deleted_ids(self) -> frozenset[str]:
        """Flushes whose rows this worker has published and deleted lately: a bucket that is moved may bring a copy of them along."""
        return self._published.deleted_lately()

    def flush_ids(self) -> frozenset[str]:
        """Flushes whose rows this worker publishes, or has published and not deleted yet: nobody need relay them."""
        under_way = () if self._under_way is None else (self._under_way,)
        return frozenset((*self._published, *under_way))

    async def submit(self, batch: Taken) -> None:
        """Queue a decided batch; waits while too much is waiting, which is what slows the reading down."""
        await self._waiting.put(batch)

    async def forget(self, sources: Collection[Source] | None) -> None:
        """Drop what waits for these partitions, or for all: whoever owns them now reads it again."""
        await self._waiting.forget(sources)

    async def run(self) -> None:
        """Flush for ever. Cancelling it at any moment loses nothing."""
        while True:
            batches: list[Taken] = []
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

    async def _flush(self, batches: list[Taken]) -> None:
        await self._look_for(batches)
        drop_repeats(batches, self._recent, self._on_conflict)
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
            except Repeats:
                metrics.FLUSH_RETRIES.labels("repeats").inc()
                known = await self._known(batches)
                if not known:
                    log.warning("repeats cannot be read yet", extra={"action": "flush", "shard": self._shard})
                    await asyncio.sleep(_FIRST_PAUSE_S)
                drop_repeats(batches, known, self._on_conflict)
            except Mismatch as mismatch:
                metrics.FLUSH_RETRIES.labels("fence").inc()
                batches = await self._refusals.hand_back(batches, mismatch.moved)
            else:
                reach("after_commit")
                await self._after_commit(flush, batches)
                return

    async def _look_for(self, batches: Sequence[Taken]) -> None:
        """Make a duplicate of each trigger that would go on to another region and was notified here: all earlier flushes are committed."""
        if not any(batch.look_for for batch in batches):
            return
        in_hand = {entry.notification for batch in batches for entry in batch.entries}
        wanted = _by_bucket((batch.partition, batch.look_for.values()) for batch in batches)
        known = in_hand | set(await insist(self._store.known, wanted))
        for batch in batches:
            for place, identity in batch.look_for.items():
                if identity in known:
                    batch.entries[place] = Entry(Outcome.DUPLICATE, batch.entries[place].record)

    async def _commit(self, flush: Flush, *, divisible: bool) -> None:
        """Commit `flush`, however often the shard has to be asked.

        Raises:
            Repeats, Mismatch: the flush does not hold and cannot as it is.
            _TooLong: it did not hold `_TRIES_WHOLE` times, and can be divided.
        """
        pause_s = _FIRST_PAUSE_S
        failures = 0
        published = self._published.due()
        self._under_way = flush.id
        while True:
            try:
                if failures and await self._store.holds(flush):
                    break
                if divisible and failures >= _TRIES_WHOLE:
                    raise _TooLong
                await self._store.write(flush, list(published.values()))
                break
            except Mismatch:
                if failures and await insist(self._store.holds, flush):
                    break
                raise
            except StoreUnavailable as error:
                log.warning("flush tried again", extra={"action": "flush", "shard": self._shard, "error": str(error)})
                metrics.FLUSH_RETRIES.labels("store").inc()
                failures += 1
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        self._published.are_deleted(published)

    async def _known(self, batches: Sequence[Taken]) -> Mapping[str, int]:
        wanted = _by_bucket((batch.partition, [entry.notification for entry in batch.entries]) for batch in batches)
        return await insist(self._store.known, wanted)

    async def _after_commit(self, flush: Flush, batches: Sequence[Taken]) -> None:
        with metrics.PUBLISH.time():
            await self._publish(flush)
        reach("after_publish")
        if flush.rows:
            self._published.add(flush.id, flush.rows)
        self._under_way = None
        _count(batches)
        for batch in batches:
            self._recent.add({entry.notification: entry.fingerprint for entry in batch.entries if entry.notification})
        reach("before_acknowledge")
        for batch in batches:
            batch.delivered.ack()
        reach("after_acknowledge")

    async def _publish(self, flush: Flush) -> None:
        pause_s = _FIRST_PAUSE_S
        lanes = lanes_of(flush.rows)
        while True:
            try:
                async with asyncio.timeout(self._limits.publish_timeout_s):
                    await publish(self._producer, lanes)
                return
            except Exception as error:  # the rows are durable: whatever hinders publishing, it is tried again
                log.warning(
                    "publishing tried again", extra={"action": "publish", "error": f"{type(error).__name__}: {error}"}
                )
                metrics.FLUSH_RETRIES.labels("broker").inc()
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


def _by_bucket(found: Iterable[tuple[int, Iterable[str | None]]]) -> dict[int, list[str]]:
    by_bucket: dict[int, list[str]] = {}
    for bucket, identities in found:
        by_bucket.setdefault(bucket, []).extend(identity for identity in identities if identity is not None)
    return {bucket: identities for bucket, identities in by_bucket.items() if identities}


def _count(batches: Sequence[Taken]) -> None:
    outcomes = dict.fromkeys(Outcome, 0)
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
