"""Writes rows of a batch to a table for an agent that may not fail: however long the changelog takes, unless the partition is gone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from notify_streams.errors import RetryLater
from notify_streams.retry import STORE
from notify_streams.transport import BatchNotSent, PartitionNotOwned

if TYPE_CHECKING:
    from collections.abc import Mapping

    from notify_streams.transport import BatchedTable


async def apply_until_written(table: BatchedTable, partition: int, rows: Mapping[Any, Any]) -> bool:
    """Whether the rows are durable; False if another worker owns the partition: the batch must not be acknowledged, its owner reads it."""
    try:
        await STORE.call(_apply, table, partition, rows)
    except PartitionNotOwned:
        return False
    return True


async def _apply(table: BatchedTable, partition: int, rows: Mapping[Any, Any]) -> None:
    try:
        await table.apply(partition, rows)
    except BatchNotSent as error:
        raise RetryLater(str(error)) from error
