"""Publishes outbox rows: each row is one batch for one partition, acknowledged by all in-sync replicas."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from notify_streams.errors import RetryLater

if TYPE_CHECKING:
    from collections.abc import Iterable

    from notify_streams.outbox.flush_plan import OutboxRow
    from notify_streams.records.batch import Producer

#: Rows by topic and partition, in order.
Lanes = dict[tuple[str, int], "deque[OutboxRow]"]


def lanes_of(rows: Iterable[OutboxRow]) -> Lanes:
    """What is to be published."""
    lanes: Lanes = {}
    for row in rows:
        lanes.setdefault((row.topic, row.partition), deque()).append(row)
    return lanes


async def publish(producer: Producer, lanes: Lanes) -> None:
    """Hand every row to its topic, rows for the same partition in order; returns when all are acknowledged.

    Takes out of `lanes` what is acknowledged: called again after an error, it repeats only what may be missing. When it raises,
    none of its calls is under way any more, so a repetition cannot overtake the first try.

    Raises:
        Exception: what the producer raised first.
    """
    ends = await asyncio.gather(*(_in_order(producer, lane) for lane in lanes.values()), return_exceptions=True)
    for end in ends:
        if isinstance(end, asyncio.CancelledError):  # not ours: the producer gave a batch up
            raise RetryLater("the producer gave a batch up") from end
        if end is not None:
            raise end


async def _in_order(producer: Producer, lane: deque[OutboxRow]) -> None:
    while lane:
        row = lane[0]
        await producer.send_batch(row.topic, row.partition, row.records)
        lane.popleft()
