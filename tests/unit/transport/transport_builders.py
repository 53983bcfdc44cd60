"""Builders of records, fetched ranges and buffers for the transport's unit tests."""

from dataclasses import dataclass

from notify_streams.transport.acknowledgement import DeliveredRange
from notify_streams.transport.partition_buffer import Bounds, FetchedRange, PartitionBuffer, record_bytes
from notify_streams.transport.record_batch import RecordBatch


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


def delivered(buffer: PartitionBuffer) -> tuple[RecordBatch, DeliveredRange]:
    """The next batch, which is not empty."""
    batch, found = buffer.next_batch()
    assert found is not None
    return batch, found


def a_buffer(
    position: int = 0, committed: int | None = None, records: int = 1000, size: int = 1_000_000
) -> PartitionBuffer:
    return PartitionBuffer("t", 0, position, committed, Bounds(records, size))
