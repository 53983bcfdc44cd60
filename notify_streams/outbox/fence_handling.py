"""Returns batches that the ledger refused to the transport."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from notify_streams import metrics
from notify_streams.records.ids import parse_ledger_id
from notify_streams.retry import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from notify_streams.outbox.decided_batch import DecidedBatch
    from notify_streams.outbox.flush_queue import FlushQueue
    from notify_streams.outbox.ledger import Ledger, Source

log = logging.getLogger(__name__)

_RETRY: Final = RetryPolicy("outbox.fence", first_s=0.05, max_s=2.0)


class FenceHandler:
    """For the flush loop of one shard."""

    def __init__(self, ledger: Ledger, relay_bucket: Callable[[int], Awaitable[object]], queue: FlushQueue) -> None:
        self._ledger = ledger
        self._relay_bucket = relay_bucket
        self._queue = queue

    async def refuse(self, batches: Sequence[DecidedBatch], ledgers: Mapping[str, int | None]) -> list[DecidedBatch]:
        """Make the transport read again every batch whose ledger is at another position, and drop what is queued behind it.

        Args:
            ledgers: ledger id → its `next_offset`, None if the ledger does not exist.

        Returns:
            The batches that may be flushed again.
        """
        by_source = {parse_ledger_id(identity): at for identity, at in ledgers.items()}
        refused: dict[Source, int] = {}
        for batch in batches:
            if batch.source not in by_source:
                continue
            at = by_source.pop(batch.source)
            if at is None:  # the ledger does not exist yet
                opened = await _RETRY.call(self._ledger.open, {batch.source: batch.start})
                at = opened[batch.source]
                if at == batch.start:
                    continue
            refused[batch.source] = at
            if not batch.ack_handle.current():
                continue  # revoked or sought while it was flushed: the partition is being read again already
            metrics.FENCED.inc()
            log.warning(
                "ledger refused a batch, it is read again",
                extra={
                    "action": "batch.fence",
                    "source": f"{batch.topic}:{batch.partition}",
                    "start": batch.start,
                    "ledger": at,
                },
            )
            # The other writer may have stopped before it published: publish its rows before anything later.
            await _RETRY.call(self._relay_bucket, batch.partition)
            await self._queue.discard([batch.source])
            batch.ack_handle.refuse(at)
        return [batch for batch in batches if batch.source not in refused]
