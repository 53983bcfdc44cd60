"""Decided batches that wait for a flush: in at one end, out by the flushful at the other, within bounds of records and bytes.

Refuses to know: what a flush does with them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from notify_streams import metrics

if TYPE_CHECKING:
    from collections.abc import Collection

    from notify_streams.outbox.decided_batch import DecidedBatch
    from notify_streams.outbox.ledger import Source
    from notify_streams.settings import OutboxSettings


class FlushQueue:
    """The queue of one shard."""

    def __init__(self, shard: int, limits: OutboxSettings) -> None:
        self._shard = shard
        self._limits = limits
        self._batches: deque[DecidedBatch] = deque()
        self._records = 0
        self._bytes = 0
        #: How often everything was forgotten.
        self._epoch = 0
        self._changed = asyncio.Condition()

    def __bool__(self) -> bool:
        return bool(self._batches)

    async def put(self, batch: DecidedBatch) -> None:
        """Queue a batch; waits while too much is waiting, which is what slows the reading down.

        A batch that waits for room while everything is forgotten is forgotten as well.
        """
        epoch = self._epoch
        async with self._changed:
            await self._changed.wait_for(lambda: epoch != self._epoch or self._has_room())
            if epoch != self._epoch or not batch.delivered.current():
                return
            self._batches.append(batch)
            self._note(batch, 1)
            self._changed.notify_all()

    async def take(self) -> list[DecidedBatch]:
        """What fits into one flush of what waits now; nothing, where nothing does or all of it is read again by now.

        The batches of a source follow on each other; one that does not comes alone, for the ledger to judge.
        """
        async with self._changed:
            taken: list[DecidedBatch] = []
            records, size = self._limits.flush_records, self._limits.flush_bytes
            ends: dict[Source, int] = {}
            while self._batches:
                batch = self._batches[0]
                if not batch.delivered.current():
                    self._note(self._batches.popleft(), -1)
                    continue
                records -= len(batch.entries)
                size -= batch.size_bytes
                if taken and (records < 0 or size < 0 or ends.get(batch.source, batch.start) != batch.start):
                    break
                ends[batch.source] = batch.end
                self._note(self._batches.popleft(), -1)
                taken.append(batch)
            self._changed.notify_all()
            return taken

    async def some(self, within_s: float | None = None) -> bool:
        """Whether a batch waits, or comes within that time; None: waits for it."""
        try:
            async with asyncio.timeout(within_s), self._changed:
                await self._changed.wait_for(lambda: self._batches)
        except TimeoutError:
            return False
        return True

    async def forget(self, sources: Collection[Source] | None) -> None:
        """Drop the batches of these partitions, or all."""
        async with self._changed:
            self._epoch += sources is None
            kept: deque[DecidedBatch] = deque()
            for batch in self._batches:
                if sources is not None and batch.source not in sources:
                    kept.append(batch)
                else:
                    self._note(batch, -1)
            self._batches = kept
            self._changed.notify_all()

    def _has_room(self) -> bool:
        return self._records < self._limits.waiting_records and self._bytes < self._limits.waiting_bytes

    def _note(self, batch: DecidedBatch, times: int) -> None:
        # One more than its triggers: a batch of the other lane's records costs something as well.
        self._records += times * (len(batch.entries) + 1)
        self._bytes += times * batch.size_bytes
        metrics.WAITING.labels(self._shard).set(self._records)
