"""Publishes outbox rows: each row is one batch for one partition."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Final

from notify_streams import metrics
from notify_streams.errors import RetryLater
from notify_streams.records.outcomes import DeadReason
from notify_streams.topics import DEAD_LETTERS
from notify_streams.transport.batch_producer import most_batches
from notify_streams.transport.client_shutdown import is_cancelled
from notify_streams.transport.send_errors import RecordTooLarge

if TYPE_CHECKING:
    from collections.abc import Iterable

    from notify_streams.outbox.flush_plan import OutboxRow
    from notify_streams.records.batch import KeyedRecord, Producer

log = logging.getLogger(__name__)

#: Of a record that no topic takes: so much of it goes into its dead letter.
_MAX_VALUE_BYTES: Final = 64 * 1024
#: Of a worker's producer (`TransportSettings.max_produce_bytes`).
_BATCH_BYTES: Final = 1_000_000
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


async def publish_in_time(producer: Producer, rows: RowsByPartition, batch_timeout_s: float) -> None:
    """`publish`, with a limit for a producer that hangs.

    The producer itself ends a Kafka batch after `batch_timeout_s`, and then writes nothing of it any more. A send that is cancelled
    here may still be written, and the whole row is sent again. So the limit is beyond the time that all batches of a partition may take.

    Raises:
        Exception: as `publish`.
    """
    batches = max(map(_most_batches, rows.values()), default=2)
    async with asyncio.timeout(batch_timeout_s * batches):
        await publish(producer, rows)


async def publish_partition_in_time(producer: Producer, rows: deque[OutboxRow], batch_timeout_s: float) -> None:
    """`publish_in_time` for the rows of one partition.

    Raises:
        Exception: as `publish`.
    """
    try:
        async with asyncio.timeout(batch_timeout_s * _most_batches(rows)):
            await _in_order(producer, rows)
    except asyncio.CancelledError as error:
        if is_cancelled():
            raise
        raise RetryLater("the producer cancelled a batch") from error


def _most_batches(rows: Iterable[OutboxRow]) -> int:
    return most_batches(chain.from_iterable(row.records for row in rows), _BATCH_BYTES)


async def _in_order(producer: Producer, queue: deque[OutboxRow]) -> None:
    while queue:
        row = queue[0]
        try:
            await producer.send_batch(row.topic, row.partition, row.records)
        except RecordTooLarge as error:
            row = queue[0] = replace(row, records=row.records[error.sent :])
            index = error.index - error.sent
            await producer.send_batch(DEAD_LETTERS, row.partition, [_dead_letter(row, index)])
            metrics.DEAD_LETTERS.labels(DeadReason.BAD_RECORD.value).inc()
            log.error(
                "record too large for its topic, it becomes a dead letter",
                extra={
                    "action": "outbox_record.leave_out",
                    "topic": row.topic,
                    "bytes": error.size,
                    "limit": error.limit,
                },
            )
            queue[0] = replace(row, records=[*row.records[:index], *row.records[index + 1 :]])
        else:
            queue.popleft()


def _dead_letter(row: OutboxRow, index: int) -> KeyedRecord:
    key, value, _ = row.records[index]
    headers = [
        ("reason", DeadReason.BAD_RECORD.value.encode()),
        ("detail", b"too large"),
        ("topic", row.topic.encode()),
    ]
    return key, value and value[:_MAX_VALUE_BYTES], headers
