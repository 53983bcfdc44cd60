"""Publishes outbox rows: each row is one batch for one partition."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from notify_streams.errors import RetryLater

if TYPE_CHECKING:
    from collections.abc import Iterable

    from notify_streams.outbox.flush_plan import OutboxRow
    from notify_streams.records.batch import Producer

#: (topic, partition) → rows in order.
RowsByPartition = dict[tuple[str, int], "deque[OutboxRow]"]


def rows_by_partition(rows: Iterable[OutboxRow]) -> RowsByPartition:
    """Group rows by target partition."""
    grouped: RowsByPartition = {}
    for row in rows:
        grouped.setdefault((row.topic, row.partition), deque()).append(row)
    return grouped


async def publish(producer: Producer, rows: RowsByPartition) -> None:
    """Publish every row, in order per partition; return when all in-sync replicas have acknowledged all.

    Removes acknowledged rows from `rows`: a call after an error repeats only what may be missing. When it raises, no send is in
    progress any more, so a repetition cannot overtake the first attempt.

    Raises:
        Exception: the producer's first error.
    """
    ends = await asyncio.gather(*(_in_order(producer, queue) for queue in rows.values()), return_exceptions=True)
    for end in ends:
        if isinstance(end, asyncio.CancelledError):  # the producer cancelled the batch, not our caller
            raise RetryLater("the producer cancelled a batch") from end
        if end is not None:
            raise end


async def _in_order(producer: Producer, queue: deque[OutboxRow]) -> None:
    while queue:
        row = queue[0]
        await producer.send_batch(row.topic, row.partition, row.records)
        queue.popleft()
