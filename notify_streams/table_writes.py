"""Writes rows of a batch to a table, repeated until the changelog has them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

from notify_streams.errors import RetryLater
from notify_streams.retry import RetryPolicy
from notify_streams.transport import BatchNotSent, PartitionNotOwned

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_RETRY: Final = RetryPolicy("table.write", first_s=0.05, max_s=2.0)


class Table(Protocol):
    """The part of `transport.BatchedTable` that agents use."""

    def get(self, partition: int, key: Any, /) -> Any: ...
    def get_many(self, partition: int, keys: Sequence[Any], /) -> list[Any]: ...
    async def apply(self, partition: int, rows: Mapping[Any, Any], /) -> None: ...


async def write_rows(table: Table, partition: int, rows: Mapping[Any, Any]) -> bool:
    """Whether the rows are durable. False: another worker owns the partition now; do not acknowledge the batch."""
    try:
        await _RETRY.call(_apply, table, partition, rows)
    except PartitionNotOwned:
        return False
    return True


async def _apply(table: Table, partition: int, rows: Mapping[Any, Any]) -> None:
    try:
        await table.apply(partition, rows)
    except BatchNotSent as error:
        raise RetryLater(str(error)) from error
