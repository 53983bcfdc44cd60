"""Publishes outbox rows: each row is one batch for one partition, acknowledged by all in-sync replicas."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from notify_streams.outbox.flush import Packed, Row


class Producer(Protocol):
    """What the transport's batch producer offers."""

    async def send_batch(self, topic: str, partition: int, records: Sequence[Packed]) -> object: ...


async def publish(producer: Producer, rows: Sequence[Row]) -> None:
    """Hand every row to its topic, rows for the same partition in order; returns when all are acknowledged.

    Raises:
        Exception: what the producer raised; some rows may be published, all may be published again.
    """
    lanes: dict[tuple[str, int], list[Row]] = {}
    for row in rows:
        lanes.setdefault((row.topic, row.partition), []).append(row)
    await asyncio.gather(*(_in_order(producer, lane) for lane in lanes.values()))


async def _in_order(producer: Producer, rows: Sequence[Row]) -> None:
    for row in rows:
        await producer.send_batch(row.topic, row.partition, row.records)
