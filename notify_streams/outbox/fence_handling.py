"""What a refusal by the ledger leads to: the batches that it concerns go back to their owner, the others go on.

In: the batches of one flush, and where their ledgers are. Out: those that may be flushed again. It refuses to know the flush.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from notify_streams import metrics
from notify_streams.outbox.flush_plan import source_of
from notify_streams.retry import STORE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from notify_streams.outbox.decided_batch import DecidedBatch
    from notify_streams.outbox.flush_queue import FlushQueue
    from notify_streams.outbox.ledger import Ledger, Source

log = logging.getLogger(__name__)


class FenceHandler:
    """The refusals of one shard."""

    def __init__(self, ledger: Ledger, relay_bucket: Callable[[int], Awaitable[object]], waiting: FlushQueue) -> None:
        self._ledger = ledger
        self._relay_bucket = relay_bucket
        self._waiting = waiting

    async def hand_back(self, batches: Sequence[DecidedBatch], moved: Mapping[str, int | None]) -> list[DecidedBatch]:
        """Give back the batches whose ledger is elsewhere, and what waits behind them: that would be refused as well. Returns the others."""
        by_source = {source_of(identity): at for identity, at in moved.items()}
        refused: dict[Source, int] = {}
        for batch in batches:
            if batch.source not in by_source:
                continue
            at = by_source.pop(batch.source)
            if at is None:  # nobody began this ledger yet
                opened = await STORE.call(self._ledger.open, {batch.source: batch.start})
                at = opened[batch.source]
                if at == batch.start:
                    continue
            refused[batch.source] = at
            if not batch.delivered.current():
                continue  # overtaken while it was flushed: the partition is read again, and waits for nobody
            metrics.FENCED.inc()
            log.warning(
                "batch refused by the ledger",
                extra={
                    "action": "fence",
                    "source": f"{batch.topic}:{batch.partition}",
                    "start": batch.start,
                    "ledger": at,
                },
            )
            # Whoever wrote it may be gone before it has published it: what it left goes out before anything later does.
            await STORE.call(self._relay_bucket, batch.partition)
            await self._waiting.forget([batch.source])
            batch.delivered.refuse(at)
        return [batch for batch in batches if batch.source not in refused]
