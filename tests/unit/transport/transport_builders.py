"""Builders of records and fetched ranges for the transport's unit tests."""

from dataclasses import dataclass

from notify_streams.transport.partition_buffer import FetchedRange, record_bytes


@dataclass(frozen=True)
class ARecord:
    offset: int
    key: bytes | None = b"k"
    value: bytes | None = b"v"
    timestamp: int = 0
    headers: tuple[tuple[str, bytes], ...] = ()


def a_fetched_range(start: int, end: int, *, holes: frozenset[int] = frozenset(), value: bytes = b"v") -> FetchedRange:
    """Records at every offset of `start <= offset < end` but the holes."""
    records = [ARecord(offset, value=value) for offset in range(start, end) if offset not in holes]
    return FetchedRange(start, end, records, sum(map(record_bytes, records)))
