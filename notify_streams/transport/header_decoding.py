"""Decodes Kafka batches with header names that are not UTF-8.

aiokafka's parser raises there, but such a record must not stop its partition: any client can write one, and no broker refuses it.
Invalid bytes of a name are escaped (``\\xff``). Written for aiokafka 0.14.0: importing this module makes its fetcher keep the fetched bytes.
"""

from __future__ import annotations

import struct
from typing import Any

import aiokafka.consumer.fetcher
from aiokafka.record.default_records import _DefaultRecordBatchPy, _DefaultRecordPy
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import decode_varint

_BATCH_HEADER = struct.Struct(">qi")


class RetainedMemoryRecords(MemoryRecords):  # type: ignore[misc, valid-type, unused-ignore]
    """What one fetch returned for a partition, with its bytes."""

    def __init__(self, fetched: bytes) -> None:
        self.fetched = fetched
        super().__init__(fetched)


aiokafka.consumer.fetcher.MemoryRecords = RetainedMemoryRecords


def decode_leniently(fetched: bytes, base_offset: int) -> list[Any]:
    """The records of the batch that begins at `base_offset`. Ten times slower than aiokafka's parser, and rarely needed."""
    at = 0
    while True:
        first, length = _BATCH_HEADER.unpack_from(fetched, at)
        end = at + _BATCH_HEADER.size + length
        if first == base_offset:
            return list(_LenientRecordBatch(fetched[at:end]))
        at = end


class _LenientRecordBatch(_DefaultRecordBatchPy):  # type: ignore[misc, unused-ignore]
    _pos: int

    def _read_msg(self, decode_varint: Any = decode_varint) -> Any:
        # https://kafka.apache.org/documentation/#record
        buffer = self._buffer
        _, at = decode_varint(buffer, self._pos)  # length; the broker has checked it
        _, at = decode_varint(buffer, at)  # attributes: none are in use
        after, at = decode_varint(buffer, at)
        place, at = decode_varint(buffer, at)
        key, at = _bytes(buffer, at)
        value, at = _bytes(buffer, at)
        count, at = decode_varint(buffer, at)
        headers = []
        for _ in range(count):
            name, at = _bytes(buffer, at)
            content, at = _bytes(buffer, at)
            headers.append(((name or b"").decode(errors="backslashreplace"), content))
        self._pos = at
        appended = self.timestamp_type == self.LOG_APPEND_TIME
        timestamp = self.max_timestamp if appended else self.first_timestamp + after
        return _DefaultRecordPy(self.base_offset + place, timestamp, self.timestamp_type, key, value, headers)


def _bytes(buffer: bytearray, at: int) -> tuple[bytes | None, int]:
    length, at = decode_varint(buffer, at)
    return (None, at) if length < 0 else (bytes(buffer[at : at + length]), at + length)
