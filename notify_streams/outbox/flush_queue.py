"""Queue of decided batches that wait for a flush, bounded in records and bytes.

A batch without a trigger of this lane only moves its ledger. It waits for the next trigger, so that a lane with few triggers has few
transactions, and a trigger seldom has to wait for one without any.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from notify_streams import metrics

if TYPE_CHECKING:
    from collections.abc import Collection

    from notify_streams.outbox.decided_batch import DecidedBatch
    from notify_streams.outbox.ledger import Source
    from notify_streams.settings import OutboxSettings

#: The longest time that positions without a trigger wait for one.
_LATER_S: Final = 0.2
#: So many of them do not wait: of a partition the transport delivers some thousands, or 8 MB, before one is acknowledged.
_MOST_LATER: Final = 1_000


class FlushQueue:
    """The queue of one shard."""

    def __init__(self, shard: int, limits: OutboxSettings) -> None:
        self._shard = shard
        self._limits = limits
        self._batches: deque[DecidedBatch] = deque()
        #: What the limits apply to: queued records plus one for each batch, and bytes.
        self.records = 0
        self.size_bytes = 0
        #: How often the whole queue was discarded.
        self._discards = 0
        #: When the queue is to be flushed (monotonic), and the positions that wait for a trigger until then.
        self._due_at = math.inf
        self._later = 0
        self._changed = asyncio.Condition()

    def __bool__(self) -> bool:
        return bool(self._batches)

    async def put(self, batch: DecidedBatch) -> None:
        """Queue a batch. Waits while the queue is full. A batch that waits while the whole queue is discarded is discarded too."""
        discards = self._discards
        async with self._changed:
            await self._changed.wait_for(lambda: discards != self._discards or self._has_room())
            if discards != self._discards or not batch.ack_handle.current():
                return
            self._batches.append(batch)
            self._count(batch, 1)
            self._later += 0 if batch.entries else batch.end - batch.start
            is_due = batch.entries or self._later >= _MOST_LATER or not self._has_room()
            self._due_at = min(self._due_at, 0.0 if is_due else time.monotonic() + _LATER_S)
            self._changed.notify_all()

    async def next_flush(self) -> list[DecidedBatch]:
        """The queued batches that fit into one flush; empty if there are none, or all were revoked or sought meanwhile.

        Batches of a source follow each other by position. One that does not is returned alone: the ledger decides about it.
        """
        async with self._changed:
            batches: list[DecidedBatch] = []
            records, size = self._limits.flush_records, self._limits.flush_bytes
            ends: dict[Source, int] = {}
            while self._batches:
                batch = self._batches[0]
                if not batch.ack_handle.current():
                    self._count(self._batches.popleft(), -1)
                    continue
                records -= len(batch.entries)
                size -= batch.size_bytes
                if batches and (records < 0 or size < 0 or ends.get(batch.source, batch.start) != batch.start):
                    break
                ends[batch.source] = batch.end
                self._count(self._batches.popleft(), -1)
                batches.append(batch)
            self._taken()
            return batches

    async def wait(self, within_s: float | None = None) -> bool:
        """Wait until the queue is to be flushed, at most `within_s` seconds (None: no limit); False after that time."""
        ends_at = math.inf if within_s is None else time.monotonic() + within_s
        while (now := time.monotonic()) < self._due_at:
            if now >= ends_at:
                return False
            await self._wait_for_change(min(self._due_at, ends_at) - now)
        return True

    async def _wait_for_change(self, within_s: float) -> None:
        due_at = self._due_at
        with suppress(TimeoutError):
            async with asyncio.timeout(None if within_s == math.inf else within_s), self._changed:
                await self._changed.wait_for(lambda: self._due_at != due_at)

    async def discard(self, sources: Collection[Source] | None) -> None:
        """Drop the batches of these partitions, or all (None)."""
        async with self._changed:
            self._discards += sources is None
            kept: deque[DecidedBatch] = deque()
            for batch in self._batches:
                if sources is not None and batch.source not in sources:
                    kept.append(batch)
                else:
                    self._count(batch, -1)
            self._batches = kept
            self._taken()

    def _taken(self) -> None:
        """Batches have left the queue: what is still there is due at once."""
        self._due_at, self._later = (0.0 if self._batches else math.inf), 0
        self._changed.notify_all()

    def _has_room(self) -> bool:
        return self.records < self._limits.waiting_records and self.size_bytes < self._limits.waiting_bytes

    def _count(self, batch: DecidedBatch, sign: int) -> None:
        # A batch without triggers of this lane costs something too.
        self.records += sign * (len(batch.entries) + 1)
        self.size_bytes += sign * batch.size_bytes
        metrics.WAITING.labels(self._shard).set(self.records)
