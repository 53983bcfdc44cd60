"""What a refusal by the ledger leads to: the batches that it concerns go back to their owner, the others go on.

In: the batches of one flush, and where their ledgers are. Out: those that may be flushed again. It refuses to know the flush.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from notify_streams import metrics
from notify_streams.outbox.flush import source_of
from notify_streams.stores.insist import insist

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from notify_streams.outbox.ledger import Ledger, Source
    from notify_streams.outbox.taken import Taken
    from notify_streams.outbox.waiting import Waiting

log = logging.getLogger(__name__)


class Refusals:
    """The refusals of one shard."""

    def __init__(self, ledger: Ledger, relay_bucket: Callable[[int], Awaitable[object]], waiting: Waiting) -> None:
        self._ledger = ledger
        self._relay_bucket = relay_bucket
        self._waiting = waiting

    async def hand_back(self, batches: Sequence[Taken], moved: Mapping[str, int | None]) -> list[Taken]:
        """Give back the batches whose ledger is elsewhere, and what waits behind them: that would be refused as well. Returns the others."""
        by_source = {source_of(identity): at for identity, at in moved.items()}
        refused: dict[Source, int] = {}
        for batch in batches:
            if batch.source not in by_source:
                continue
            at = by_source.pop(batch.source)
            if at is None:  # nobody began this ledger yet
                opened = await insist(self._ledger.open, {batch.source: batch.start})
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
            await insist(self._relay_bucket, batch.partition)
            await self._waiting.forget([batch.source])
            batch.delivered.refuse(at)
        return [batch for batch in batches if batch.source not in refused]
