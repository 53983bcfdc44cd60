"""The way out of one worker: a group commit for each shard, the relay, and the ledger's say on where partitions start."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from notify_streams import metrics, tasks
from notify_streams.errors import RetryLater
from notify_streams.outbox.flush_loop import FlushLoop
from notify_streams.outbox.ledger import Ledger
from notify_streams.outbox.relay import Relay
from notify_streams.outbox.transaction import FlushStore
from notify_streams.stores.orphaned_transactions import abort_orphaned_transactions

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping

    from notify_streams.outbox.decided_batch import DecidedBatch
    from notify_streams.outbox.flush_plan import OnConflict
    from notify_streams.outbox.ledger import Source
    from notify_streams.records.batch import Producer
    from notify_streams.settings import Settings
    from notify_streams.stores.mongo import Shards

log = logging.getLogger(__name__)


class Outbox:
    """Everything that a role writes leaves through here."""

    def __init__(
        self, settings: Settings, role: str, shards: Shards, producer: Producer, on_conflict: OnConflict
    ) -> None:
        limits = settings.outbox
        self._sweep_every_s = limits.sweep_every_s
        self._shards = shards
        self.ledger = Ledger(shards, role, limits.transaction_timeout_s)
        self.relay = Relay(role, shards, producer, limits.transaction_timeout_s)
        self._commits = [
            FlushLoop(
                role,
                shard,
                FlushStore(shards, shard, limits.transaction_timeout_s),
                self.ledger,
                producer,
                limits,
                on_conflict,
                self._relay_bucket,
            )
            for shard in range(len(shards))
        ]
        self._buckets: frozenset[int] = frozenset()
        self._tasks: list[asyncio.Task[None]] = []
        #: Set when a flush loop ended on an error that nobody foresaw: the worker must be restarted.
        self.failed: BaseException | None = None

    async def start(self) -> None:
        loops = [commit.run for commit in self._commits]
        self._tasks = [asyncio.create_task(self._guarded(loop)) for loop in (*loops, self._sweep)]

    async def stop(self) -> None:
        """End the loops wherever they are; what is half done is done again by the next owner, what is published is not."""
        running, self._tasks = self._tasks, []
        await tasks.stop(running)
        await asyncio.gather(*(commit.close() for commit in self._commits))

    async def submit(self, batch: DecidedBatch) -> None:
        """Queue a decided batch; waits while its shard has too much to do."""
        await self._commits[self._shards.of(batch.partition)].submit(batch)

    async def take_over(self, sources: Collection[Source]) -> Mapping[Source, int]:
        """What a new owner does before anything else: end what the old one left open, ask the ledger where to begin, and publish what
        was left until there.

        What the old one commits later than that is refused by the ledger, and published before this worker begins behind it.

        Raises:
            RetryLater: a shard or the broker does not answer; call it again.
        """
        for commit in self._commits:
            await commit.forget(None)
        self._buckets = frozenset(partition for _, partition in sources)
        await abort_orphaned_transactions(self._shards)
        positions = await self.ledger.positions(sources)
        await self.relay.drain(self._buckets, but=self._flush_ids(), published=self._deleted_ids())
        return positions

    def give_up(self) -> None:
        """The partitions are gone: what waits for them will be read by their new owner."""
        self._buckets = frozenset()

    async def waiting(self) -> tuple[int, float]:
        """Outbox rows of this worker's buckets, and the age of the oldest in seconds."""
        return await self.relay.waiting(self._buckets)

    def _flush_ids(self) -> frozenset[str]:
        return frozenset().union(*(commit.flush_ids() for commit in self._commits))

    def _deleted_ids(self) -> frozenset[str]:
        return frozenset().union(*(commit.deleted_ids() for commit in self._commits))

    async def _relay_bucket(self, bucket: int) -> None:
        # A bucket that was moved brings along the rows that the commit of its old shard has published.
        await self.relay.drain([bucket], but=self._flush_ids(), published=self._deleted_ids())

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(self._sweep_every_s)
            await abort_orphaned_transactions(self._shards)
            try:
                await self.relay.drain(
                    self._buckets,
                    older_than_ms=int(2000 * self._sweep_every_s),
                    but=self._flush_ids(),
                    published=self._deleted_ids(),
                )
                rows, oldest_s = await self.relay.waiting(self._buckets)
                metrics.OUTBOX_ROWS.set(rows)
                metrics.OUTBOX_OLDEST.set(oldest_s)
            except RetryLater as error:
                log.warning("the outbox could not be swept", extra={"action": "sweep", "error": str(error)})

    async def _guarded(self, loop: Callable[[], Awaitable[None]]) -> None:
        try:
            await loop()
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self.failed = error
            log.exception("a flush loop ended", extra={"action": "flush"})
