"""Keeps a table's rows on disk in RocksDB.

One database for each table and worker. A key begins with two bytes of partition number. Positions are rows too, in the same write batch as
the rows that they include.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rocksdict import BlockBasedOptions, Cache, Options, Rdict, WriteBatch

from notify_streams.transport.record_batch import Record
from notify_streams.transport.tables.store import Decode, StoreFactory, decode_raw

_POSITIONS = b"\xff\xff"
_MAX_PARTITIONS = 0xFFFF


def on_disk(folder: Path) -> StoreFactory:
    """A `StoreFactory`: rows in RocksDB, in a folder that no other process uses."""

    def open_store(decode: Decode, shared: bool) -> RocksStore:
        return RocksStore(folder, decode, shared=shared)

    return open_store


class RocksStore:
    """See `Store`. Only one process at a time may use a folder. Writes survive a kill of the process, not of the machine."""

    def __init__(
        self,
        folder: Path,
        decode: Decode = decode_raw,
        *,
        shared: bool = False,
        block_cache_bytes: int = 16 * 1024 * 1024,
        write_buffer_bytes: int = 8 * 1024 * 1024,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._decode = decode
        self._shared = shared
        options = Options(raw_mode=True)
        options.create_if_missing(True)
        options.set_write_buffer_size(write_buffer_bytes)
        options.set_max_write_buffer_number(3)
        options.set_keep_log_file_num(2)
        blocks = BlockBasedOptions()
        blocks.set_block_cache(Cache(block_cache_bytes))
        blocks.set_bloom_filter(10, False)
        options.set_block_based_table_factory(blocks)
        self._db = Rdict(str(folder), options)

    def position(self, partition: int) -> int | None:
        found = self._db.get(_POSITIONS + _prefix(partition))
        return int.from_bytes(found, "big") if found is not None else None

    def load(self, partition: int, records: Iterable[Record], position: int) -> None:
        changes = [(record.key, record.value) for record in records if record.key is not None]
        if self._decode is not decode_raw:
            changes = [change for change in changes if self._decode(*change, partition) is not None]
        self._apply(partition, changes, position)

    def _apply(self, partition: int, changes: Iterable[tuple[bytes, bytes | None]], position: int) -> None:
        prefix = self._row_prefix(partition)
        batch = WriteBatch(raw_mode=True)
        put, delete = batch.put, batch.delete
        for key, value in changes:
            if value is None:
                delete(prefix + key)
            else:
                put(prefix + key, value)
        put(_POSITIONS + _prefix(partition), position.to_bytes(8, "big"))
        self._db.write(batch)

    def get(self, partition: int, key: Any) -> Any:
        return self.get_many(partition, [key])[0]

    def get_many(self, partition: int, keys: Sequence[Any]) -> list[Any]:
        prefix = self._row_prefix(partition)
        raw = [key.encode() if isinstance(key, str) else key for key in keys]
        found: Any = self._db.get([prefix + key for key in raw])
        if self._decode is decode_raw:
            return list(found)
        return [
            None if value is None else self._value(key, value, partition) for key, value in zip(raw, found, strict=True)
        ]

    def _value(self, key: bytes, value: bytes, partition: int) -> Any:
        row = self._decode(key, value, partition)
        return None if row is None else row[1]

    def drop(self, partition: int) -> None:
        """Forget a partition. A shared store keeps the rows until the partition is read again."""
        if not self._shared:
            self._db.delete_range(_prefix(partition), _prefix(partition + 1))
        self._db.delete(_POSITIONS + _prefix(partition))

    def release(self, partition: int) -> None:
        """Does nothing: rows and position stay valid for the next assignment."""

    def close(self) -> None:
        self._db.close()

    def _row_prefix(self, partition: int) -> bytes:
        return b"" if self._shared else _prefix(partition)


def _prefix(partition: int) -> bytes:
    if not 0 <= partition < _MAX_PARTITIONS:
        raise ValueError(f"partition {partition} is out of range")
    return partition.to_bytes(2, "big")
