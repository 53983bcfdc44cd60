"""The outbox of one worker: flush loops, relay, start positions."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Final

from notify_streams import tasks
from notify_streams.errors import RetryLater
from notify_streams.outbox.flush_loop import FlushLoop
from notify_streams.outbox.flush_spans import FlushSpans
from notify_streams.outbox.ledger import Ledger
from notify_streams.outbox.relay import Relay
from notify_streams.outbox.transaction import FlushStore
from notify_streams.retry import RetryPolicy
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

#: So long an assignment, or a flush, waits for rows that another worker left in a bucket.
_RELAY_WAIT_S: Final = 1.0
_RELAY_RETRY: Final = RetryPolicy("outbox.relay", first_s=0.05, max_s=2.0)


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
        #: Bucket → task that publishes the rows which its last owner left.
        self._relaying: dict[int, asyncio.Task[None]] = {}
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
                self._relay_left,
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
        await self._stop_relaying()

    async def submit(self, batch: DecidedBatch) -> None:
        """Queue a decided batch. Waits while its partition's rows, or rows left in its bucket, wait for Kafka, or the queue is full.

        This slows the reading down.
        """
        while (relaying := self._relaying.get(batch.partition)) and batch.ack_handle.current():
            await asyncio.wait([relaying])
        await self._loops[self._shards.of(batch.partition)].submit(batch)

    async def on_assigned(self, sources: Collection[Source]) -> None:
        """Drop what is queued: these source partitions are assigned, and no others."""
        await self._stop_relaying()
        for loop in self._loops:
            await loop.discard(None)
        self.buckets = frozenset(partition for _, partition in sources)

    async def acquire(self, sources: Collection[Source]) -> Mapping[Source, int]:
        """Prepare some of the assigned source partitions: abort open transactions of the old owner, read the ledger, relay left rows.

        A flush that the old owner commits after this is refused by the ledger here, and its rows are relayed before this worker goes on.
        A bucket whose rows cannot be published soon waits for them in `submit`, and holds up no other.

        Returns:
            The position of each source that has a ledger.

        Raises:
            RetryLater: a shard does not answer; call again.
        """
        buckets = {partition for _, partition in sources}
        await abort_orphaned_transactions(self._shards, {self._shards.of(bucket) for bucket in buckets})
        positions = await self.ledger.positions(sources)
        await self._relay_first(await self.relay.with_rows(buckets))
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

    async def _relay_first(self, buckets: Collection[int]) -> None:
        """Publish what is left in these buckets before anything that is submitted later.

        Returns when that is done, or takes long.
        """
        for bucket in buckets:
            if bucket not in self._relaying:
                task = self._relaying[bucket] = asyncio.create_task(_RELAY_RETRY.call(self._relay_bucket, bucket))
                task.add_done_callback(partial(self._relayed, bucket))
        if buckets:
            await asyncio.wait([self._relaying[bucket] for bucket in buckets], timeout=_RELAY_WAIT_S)

    async def _relay_left(self, bucket: int) -> None:
        await self._relay_first([bucket])

    async def _relay_bucket(self, bucket: int) -> None:
        # A moved bucket may bring a copy of rows that the loop of its old shard has published.
        await self.relay.drain([bucket], exclude=self._flush_ids(), published=self._deleted_ids())

    def _relayed(self, bucket: int, task: asyncio.Task[None]) -> None:
        if self._relaying.get(bucket) is task:
            del self._relaying[bucket]
        if not task.cancelled() and (error := task.exception()) is not None:
            self.failed = self.failed or error
            log.error(
                "the relay of a bucket ended, the worker must be restarted",
                extra={"action": "relay.end", "bucket": bucket, "error": type(error).__name__},
            )

    async def _stop_relaying(self) -> None:
        relaying, self._relaying = self._relaying, {}
        await tasks.stop(relaying.values())

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(self._sweep_every_s)
            await abort_orphaned_transactions(self._shards, range(len(self._shards)))
            try:
                await self.relay.drain(
                    self.buckets - self._relaying.keys(),
                    older_than_ms=int(2000 * self._sweep_every_s),
                    exclude=self._flush_ids(),
                    published=self._deleted_ids(),
                )
                await self.relay.show_waiting(self.buckets)
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
