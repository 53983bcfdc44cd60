"""Publishes the rows of committed flushes, in order per target partition.

A partition that takes nothing holds up no other.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING, Final

from notify_streams import metrics, tasks
from notify_streams.outbox.publisher import publish_partition_in_time, rows_by_partition
from notify_streams.retry import RetryPolicy

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Iterable

    from notify_streams.outbox.flush_plan import OutboxRow
    from notify_streams.records.batch import Producer

_RETRY: Final = RetryPolicy("outbox.publish", first_s=0.05, max_s=2.0)


class RowPublisher:
    """For one flush loop."""

    def __init__(self, producer: Producer, batch_timeout_s: float) -> None:
        """`batch_timeout_s`: of one Kafka batch."""
        self._producer = producer
        self._batch_timeout_s = batch_timeout_s
        #: Who waits for a lock gets it in order.
        self._in_turn: defaultdict[tuple[str, int], asyncio.Lock] = defaultdict(asyncio.Lock)
        self._sends: set[asyncio.Task[None]] = set()

    def begin(self, rows: Iterable[OutboxRow]) -> dict[tuple[str, int], asyncio.Task[None]]:
        """Topic and partition → task that ends when Kafka has acknowledged all rows for it; it retries without limit.

        Rows of a later call are behind those of an earlier one that are for the same partition.
        """
        sends = {}
        for target, queue in rows_by_partition(rows).items():
            sends[target] = send = asyncio.create_task(self._publish_to(target, queue))
            self._sends.add(send)
            send.add_done_callback(self._sends.discard)
        return sends

    async def stop(self) -> None:
        """Cancel what is not acknowledged."""
        await tasks.stop(list(self._sends))

    async def _publish_to(self, target: tuple[str, int], queue: deque[OutboxRow]) -> None:
        async with self._in_turn[target]:
            attempts = _RETRY.attempts()
            while True:
                try:
                    await publish_partition_in_time(self._producer, queue, self._batch_timeout_s)
                except Exception as error:  # the rows are durable, so any error may be retried
                    metrics.FLUSH_RETRIES.labels("broker").inc()
                    await attempts.failed(error)
                else:
                    attempts.succeeded()
                    return
