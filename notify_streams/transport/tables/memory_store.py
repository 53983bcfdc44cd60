"""Keeps a table's rows in dicts: the fastest store, empty after a restart.

A row costs about 42 bytes in the dict, and its key and value objects; interned values cost nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from notify_streams.transport.record_batch import Record
from notify_streams.transport.tables.store import Decode, StoreDamaged, decode_raw


def in_memory(decode: Decode) -> MemoryStore:
    """A `StoreFactory`: rows in dicts."""
    return MemoryStore(decode)


class MemoryStore:
    """See `Store`."""

    failure: StoreDamaged | None = None

    def __init__(self, decode: Decode = decode_raw) -> None:
        self._decode = decode
        self._rows: dict[int, dict[Any, Any]] = {}
        self._positions: dict[int, int] = {}

    def position(self, partition: int) -> int | None:
        return self._positions.get(partition)

    def partitions(self) -> frozenset[int]:
        return frozenset(self._positions)

    def load(self, partition: int, records: Iterable[Record], position: int) -> None:
        rows = self.rows(partition)
        decode = self._decode
        for record in records:
            key = record.key
            if key is None:
                continue
            value = record.value
            if decode is decode_raw:
                row: tuple[Any, Any] | None = (key, value)
            else:
                row = decode(key, value, partition)
            if row is None:
                continue
            if value is None:
                rows.pop(row[0], None)
            else:
                rows[row[0]] = row[1]
        self._positions[partition] = position

    def rows(self, partition: int) -> dict[Any, Any]:
        """The partition's dict. Read only."""
        return self._rows.setdefault(partition, {})

    def get(self, partition: int, key: Any) -> Any:
        return self.rows(partition).get(key)

    def get_many(self, partition: int, keys: Sequence[Any]) -> list[Any]:
        return list(map(self.rows(partition).get, keys))

    def drop(self, partition: int) -> None:
        self._rows.pop(partition, None)
        self._positions.pop(partition, None)

    def release(self, partition: int) -> None:
        self.drop(partition)

    def close(self) -> None:
        """Nothing to release."""

    def __len__(self) -> int:
        return sum(map(len, self._rows.values()))
