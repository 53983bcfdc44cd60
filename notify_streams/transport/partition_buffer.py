"""Merges what was fetched from one partition until the agent takes it as a batch.

No Kafka, no Faust, no clock: `consumer.py` moves the records.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import islice

from notify_streams.transport.acknowledgement import AckedPrefix, DeliveredRange
from notify_streams.transport.bounded_inflation import HEADER_BYTES
from notify_streams.transport.record_batch import Record, RecordBatch

#: Full batches of one partition that an agent may have unacknowledged before it gets another.
_MAX_UNACKED_BATCHES = 2


@dataclass(frozen=True, slots=True)
class FetchedRange:
    """What one fetch returned for one partition, between two positions."""

    start: int
    end: int
    records: Sequence[Record]
    size_bytes: int
    #: Positions of the range that Kafka deleted before they were read.
    lost: int = 0


class AppendResult(Enum):
    """What happened to an appended range."""

    APPENDED = "appended"
    #: It is below the position that is next: the response to a fetch from before a seek.
    STALE = "stale"
    #: It begins above the position that is next. The caller seeks back, or finds that nothing lies between.
    GAP = "gap"


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits of one batch; bytes are those of keys, values and headers."""

    records: int
    bytes: int


class PartitionBuffer:
    """State of one assigned partition. Not safe for threads."""

    def __init__(self, topic: str, partition: int, position: int, committed: int | None, bounds: Bounds) -> None:
        self.topic = topic
        self.partition = partition
        self.bounds = bounds
        self.committed = committed
        #: The agent's queue has an event that will take the next batch.
        self.event_queued = False
        self.restart(position)

    def restart(self, position: int) -> None:
        """Forget what is buffered and what is unacknowledged, and go on at `position`."""
        #: The position that the next fetched range must begin at.
        self.next_position = position
        self.prefix = AckedPrefix(position)
        self.closed = False
        self._clear()

    def close(self) -> None:
        """Deliver nothing any more. What is unacknowledged can still be acknowledged."""
        self.closed = True
        self._clear()

    def _clear(self) -> None:
        self._ranges: deque[FetchedRange] = deque()
        self.record_count = 0
        self._bytes = 0

    def append(self, fetched: FetchedRange) -> AppendResult:
        """Buffer a fetched range behind those that are buffered."""
        if self.closed or fetched.end <= self.next_position:
            return AppendResult.STALE
        if fetched.start > self.next_position:
            return AppendResult.GAP
        if fetched.start < self.next_position:
            kept = [record for record in fetched.records if record.offset >= self.next_position]
            fetched = FetchedRange(self.next_position, fetched.end, kept, fetched.size_bytes)
        self.next_position = fetched.end
        if fetched.records:
            self._ranges.append(fetched)
            self.record_count += len(fetched.records)
            self._bytes += fetched.size_bytes
        elif not self._ranges:
            self.prefix.skip(fetched.end)
        return AppendResult.APPENDED

    def skip_to(self, position: int) -> None:
        """Go on at `position`: Kafka has deleted what is before it, which the next batch reports as lost."""
        if not self.closed and position > self.next_position:
            self._ranges.append(FetchedRange(self.next_position, position, (), 0, position - self.next_position))
            self.next_position = position

    @property
    def has_records(self) -> bool:
        """Whether there is something to deliver: records, or lost positions."""
        return bool(self._ranges)

    @property
    def full(self) -> bool:
        """Whether the partition must not be fetched until the agent takes a batch."""
        return self.record_count >= self.bounds.records or self._bytes >= self.bounds.bytes

    @property
    def unacked_limit_reached(self) -> bool:
        """Whether the agent gets no more until it acknowledges something; meanwhile what is fetched merges.

        Without a limit, an agent that works on many batches at once would take in the whole partition, and a rebalance would have to wait
        until all of it is done.
        """
        records = self.prefix.delivered_to - self.prefix.position
        return (
            records >= _MAX_UNACKED_BATCHES * self.bounds.records
            or self.prefix.unacked_bytes >= _MAX_UNACKED_BATCHES * self.bounds.bytes
        )

    @property
    def needs_event(self) -> bool:
        """Whether to queue an event for the agent."""
        return self.has_records and not self.event_queued and not self.unacked_limit_reached

    def next_batch(self) -> tuple[RecordBatch, DeliveredRange | None]:
        """Deliver what is buffered, within the bounds. An empty batch, with nothing to acknowledge, if nothing is."""
        start = self.prefix.delivered_to
        if not self._ranges:
            return RecordBatch(self.topic, self.partition, start, start, ()), None
        parts: list[Sequence[Record]] = []
        records = size = lost = 0
        while self._ranges and (not parts or (records < self.bounds.records and size < self.bounds.bytes)):
            fetched = self._ranges.popleft()
            records_left, bytes_left = self.bounds.records - records, self.bounds.bytes - size
            if len(fetched.records) > records_left or fetched.size_bytes > bytes_left:
                fetched = self._split(fetched, records_left, bytes_left, at_least=0 if parts else 1)
                if not fetched.records:
                    break
            parts.append(fetched.records)
            records += len(fetched.records)
            size += fetched.size_bytes
            lost += fetched.lost
            end = fetched.end
        self.record_count -= records
        self._bytes -= size
        if not self._ranges:
            end = self.next_position
        merged = parts[0] if len(parts) == 1 else [record for part in parts for record in part]
        batch = RecordBatch(self.topic, self.partition, start, end, merged, lost)
        return batch, self.prefix.deliver(end, size)

    def _split(self, fetched: FetchedRange, max_records: int, max_bytes: int, at_least: int) -> FetchedRange:
        """The part of a range that is within the limits; the rest goes back to the head of the buffer."""
        if fetched.size_bytes <= max_bytes:
            # All of it fits by size: an average is exact enough, and no record has to be measured.
            count = max_records
            size = fetched.size_bytes * count // len(fetched.records)
        else:
            count, size = _measure(fetched.records, max_records, max_bytes, at_least)
        if count >= len(fetched.records):
            return fetched
        if count == 0:
            self._ranges.appendleft(fetched)
            return FetchedRange(fetched.start, fetched.start, (), 0)
        split_at = fetched.records[count - 1].offset + 1
        rest = FetchedRange(split_at, fetched.end, fetched.records[count:], max(fetched.size_bytes - size, 0))
        self._ranges.appendleft(rest)
        return FetchedRange(fetched.start, split_at, fetched.records[:count], size)

    def offset_to_commit(self) -> int | None:
        """The position to commit; None while it is committed already."""
        position = self.prefix.position
        return position if self.committed is None or position > self.committed else None


def _measure(records: Sequence[Record], max_records: int, max_bytes: int, at_least: int) -> tuple[int, int]:
    """How many of the first records are within the limits (but `at_least`), and their size."""
    count = size = 0
    for record in islice(records, max_records):
        added = record_bytes(record)
        if count >= at_least and size + added > max_bytes:
            break
        count += 1
        size += added
    return count, size


def record_bytes(record: Record) -> int:
    """Size of key, value and headers."""
    key, value, headers = record.key, record.value, record.headers
    size = (len(key) if key is not None else 0) + (len(value) if value is not None else 0)
    if headers:
        size += sum(HEADER_BYTES + len(name) + len(content or b"") for name, content in headers)
    return size
