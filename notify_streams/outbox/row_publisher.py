"""Publishes the rows of committed flushes, in order per target partition.

A partition that takes nothing holds up no other.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING, Final

from notify_streams import metrics
from notify_streams.outbox.publisher import publish_in_time, rows_by_partition
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

    async def publish(self, rows: Iterable[OutboxRow]) -> None:
        """Return when Kafka has acknowledged all rows; retries without limit.

        Rows of a later call are behind those of an earlier one that are for the same partition.
        """
        async with asyncio.TaskGroup() as partitions:
            for target, queue in rows_by_partition(rows).items():
                partitions.create_task(self._publish_to(target, queue))

    async def _publish_to(self, target: tuple[str, int], queue: deque[OutboxRow]) -> None:
        async with self._in_turn[target]:
            attempts = _RETRY.attempts()
            while True:
                try:
                    await publish_in_time(self._producer, {target: queue}, self._batch_timeout_s)
                except Exception as error:  # the rows are durable, so any error may be retried
                    metrics.FLUSH_RETRIES.labels("broker").inc()
                    await attempts.failed(error)
                else:
                    attempts.succeeded()
                    return
