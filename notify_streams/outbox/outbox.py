"""The outbox of one worker: flush loops, relay, start positions."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from notify_streams import metrics, tasks
from notify_streams.errors import RetryLater
from notify_streams.outbox.flush_loop import FlushLoop
from notify_streams.outbox.flush_spans import FlushSpans
from notify_streams.outbox.ledger import Ledger
from notify_streams.outbox.relay import Relay
from notify_streams.outbox.transaction import FlushStore
from notify_streams.stores.orphaned_transactions import abort_orphaned_transactions
from notify_streams.stores.sealed_sums import OpenPeriods

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping

    from notify_streams.outbox.decided_batch import DecidedBatch
    from notify_streams.outbox.flush_plan import DeadLetterFor
    from notify_streams.outbox.ledger import Source
    from notify_streams.records.batch import Producer
    from notify_streams.settings import Settings
    from notify_streams.stores.mongo import Shards
    from notify_streams.tracing.spans import Spans

log = logging.getLogger(__name__)


class Outbox:
    """Commits, publishes and acknowledges the decided batches of one role."""

    def __init__(
        self,
        settings: Settings,
        role: str,
        shards: Shards,
        producer: Producer,
        on_conflict: DeadLetterFor,
        on_bad_record: DeadLetterFor,
        flush_store: Callable[[Shards, int, float], FlushStore] = FlushStore,
        spans: Spans | None = None,
    ) -> None:
        """`spans`: None while tracing is off."""
        limits = settings.outbox
        self._sweep_every_s = limits.sweep_every_s
        self._shards = shards
        self.ledger = Ledger(shards, role, limits.transaction_timeout_s)
        self.relay = Relay(role, shards, producer, limits.transaction_timeout_s)
        self._loops = [
            FlushLoop(
                role,
                shard,
                flush_store(shards, shard, limits.transaction_timeout_s),
                self.ledger,
                producer,
                limits,
                on_conflict,
                on_bad_record,
                self._relay_bucket,
                periods=OpenPeriods(shards, shard, settings.retention, limits.transaction_timeout_s),
                spans=None if spans is None else FlushSpans(spans, shard),
            )
            for shard in range(len(shards))
        ]
        #: Buckets whose left rows the sweep relays.
        self.buckets: frozenset[int] = frozenset()
        self._tasks: list[asyncio.Task[None]] = []
        #: The error that ended a loop unexpectedly: the worker must be restarted.
        self.failed: BaseException | None = None

    async def start(self) -> None:
        runs = [*(loop.run for loop in self._loops), self._sweep]
        self._tasks = [asyncio.create_task(self._guarded(run)) for run in runs]

    async def stop(self) -> None:
        """Stop the loops. The next owner of the partitions repeats what is incomplete."""
        await self.cancel()
        await asyncio.gather(*(loop.close() for loop in self._loops))

    async def cancel(self) -> None:
        """Stop the loops and leave published rows undeleted, as a crash does."""
        running, self._tasks = self._tasks, []
        await tasks.stop(running)

    async def submit(self, batch: DecidedBatch) -> None:
        """Queue a decided batch. Waits while the queue of its shard is full, which slows the reading down."""
        await self._loops[self._shards.of(batch.partition)].submit(batch)

    async def on_assigned(self, sources: Collection[Source]) -> None:
        """Drop what is queued: these source partitions are assigned, and no others."""
        for loop in self._loops:
            await loop.discard(None)
        self.buckets = frozenset(partition for _, partition in sources)

    async def acquire(self, sources: Collection[Source]) -> Mapping[Source, int]:
        """Prepare some of the assigned source partitions: abort open transactions of the old owner, read the ledger, relay left rows.

        A flush that the old owner commits after this is refused by the ledger here, and its rows are relayed before this worker goes on.

        Returns:
            The position of each source that has a ledger.

        Raises:
            RetryLater: a shard or the broker does not answer; call again.
        """
        buckets = {partition for _, partition in sources}
        await abort_orphaned_transactions(self._shards, {self._shards.of(bucket) for bucket in buckets})
        positions = await self.ledger.positions(sources)
        await self.relay.drain(buckets, exclude=self._flush_ids(), published=self._deleted_ids())
        return positions

    def on_revoked(self) -> None:
        """Stop relaying for the revoked partitions. Their new owner reads again what is queued for them."""
        self.buckets = frozenset()

    async def waiting(self) -> tuple[int, float]:
        """Outbox rows of this worker's buckets, and the age of the oldest in seconds."""
        return await self.relay.waiting(self.buckets)

    def _flush_ids(self) -> frozenset[str]:
        return frozenset().union(*(loop.flush_ids() for loop in self._loops))

    def _deleted_ids(self) -> frozenset[str]:
        return frozenset().union(*(loop.recently_deleted_ids() for loop in self._loops))

    async def _relay_bucket(self, bucket: int) -> None:
        # A moved bucket may bring a copy of rows that the loop of its old shard has published.
        await self.relay.drain([bucket], exclude=self._flush_ids(), published=self._deleted_ids())

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(self._sweep_every_s)
            await abort_orphaned_transactions(self._shards, range(len(self._shards)))
            try:
                await self.relay.drain(
                    self.buckets,
                    older_than_ms=int(2000 * self._sweep_every_s),
                    exclude=self._flush_ids(),
                    published=self._deleted_ids(),
                )
                rows, oldest_s = await self.relay.waiting(self.buckets)
                metrics.OUTBOX_ROWS.set(rows)
                metrics.OUTBOX_OLDEST.set(oldest_s)
            except RetryLater as error:
                log.warning("outbox sweep failed", extra={"action": "outbox.sweep", "error": error})

    async def _guarded(self, run: Callable[[], Awaitable[None]]) -> None:
        try:
            await run()
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self.failed = error
            log.exception("flush loop ended", extra={"action": "flush_loop.end"})
