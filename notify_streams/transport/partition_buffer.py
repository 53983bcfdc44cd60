"""One assigned partition: what was fetched waits here and merges until the agent takes it.

In: fetched ranges of records. Out: `RecordBatch`es within bounds, and the offset to commit. Pure: no Kafka,
no Faust, no clock; `consumer.py` moves the records.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from notify_streams.transport.acknowledgement import AckedPrefix, DeliveredRange
from notify_streams.transport.record_batch import Record, RecordBatch

#: Full batches of one partition that an agent may have in hand, unacknowledged, before it gets another.
_IN_HAND = 2


@dataclass(frozen=True, slots=True)
class FetchedRange:
    """What one fetch brought for one partition, between two positions."""

    start: int
    end: int
    records: Sequence[Record]
    size_bytes: int


class AppendResult(Enum):
    """What became of an appended range."""

    APPENDED = "appended"
    #: Nothing in it that the buffer does not have: the answer to a fetch from before a seek.
    STALE = "stale"
    #: It begins above the position that is next; the caller must seek back, or prove that nothing lies between.
    GAP = "gap"


@dataclass(frozen=True, slots=True)
class Bounds:
    records: int
    bytes: int


class PartitionBuffer:
    """State of one partition while it is assigned. Only the event loop's thread may touch it."""

    def __init__(self, topic: str, partition: int, position: int, committed: int | None, bounds: Bounds) -> None:
        self.topic = topic
        self.partition = partition
        self.bounds = bounds
        self.committed = committed
        #: An event is in the agent's queue that will take what waits.
        self.announced = False
        self._start(position)

    def _start(self, position: int) -> None:
        #: The position that the next fetched range must begin at.
        self.expected = position
        self.prefix = AckedPrefix(position)
        self._waiting: deque[FetchedRange] = deque()
        self._waiting_records = 0
        self._waiting_bytes = 0
        self.closed = False

    def restart(self, position: int) -> None:
        """Forget all that waits and all that is in flight, and go on at `position`."""
        self._start(position)

    def close(self) -> None:
        """Hand out nothing any more; what is in flight can still be acknowledged."""
        self._waiting.clear()
        self._waiting_records = self._waiting_bytes = 0
        self.closed = True

    def append(self, fetched: FetchedRange) -> AppendResult:
        """Let a fetched range wait, merged with what waits already."""
        if self.closed or fetched.end <= self.expected:
            return AppendResult.STALE
        if fetched.start > self.expected:
            return AppendResult.GAP
        if fetched.start < self.expected:
            kept = [record for record in fetched.records if record.offset >= self.expected]
            fetched = FetchedRange(self.expected, fetched.end, kept, fetched.size_bytes)
        self.expected = fetched.end
        if fetched.records:
            self._waiting.append(fetched)
            self._waiting_records += len(fetched.records)
            self._waiting_bytes += fetched.size_bytes
        elif not self._waiting:
            self.prefix.skip(fetched.end)
        return AppendResult.APPENDED

    def skip_to(self, position: int) -> None:
        """Go on at `position`: what lies before it no longer exists in Kafka."""
        self.expected = max(self.expected, position)

    @property
    def has_waiting(self) -> bool:
        return bool(self._waiting)

    @property
    def full(self) -> bool:
        """Whether the partition must not be fetched until the agent takes something."""
        return self._waiting_records >= self.bounds.records or self._waiting_bytes >= self.bounds.bytes

    @property
    def busy(self) -> bool:
        """Whether the agent has as much in hand as it may: what comes merges until some of that is acknowledged.

        An agent that works on many batches at once would else take in all that there is in Kafka, and hold up a
        rebalance until the last of it is done.
        """
        in_hand = self.prefix.delivered_to - self.prefix.position
        return in_hand >= _IN_HAND * self.bounds.records or self.prefix.open_bytes >= _IN_HAND * self.bounds.bytes

    @property
    def due(self) -> bool:
        """Whether the agent is to get an event: something waits, no event is on its way, and it may have more."""
        return self.has_waiting and not self.announced and not self.busy

    def next_batch(self) -> tuple[RecordBatch, DeliveredRange | None]:
        """Hand out what waits, within the bounds, as one batch. Empty, with nothing to ack, if nothing waits."""
        start = self.prefix.delivered_to
        if not self._waiting:
            return RecordBatch(self.topic, self.partition, start, start, ()), None
        taken: list[Sequence[Record]] = []
        records = size = 0
        while self._waiting and (not taken or self._fits(records, size)):
            fetched = self._waiting.popleft()
            room = self.bounds.records - records
            if len(fetched.records) > room or size + fetched.size_bytes > self.bounds.bytes:
                fetched = self._cut(fetched, room, self.bounds.bytes - size, first=not taken)
                if not fetched.records:
                    break
            taken.append(fetched.records)
            records += len(fetched.records)
            size += fetched.size_bytes
            end = fetched.end
        self._waiting_records -= records
        self._waiting_bytes -= size
        if not self._waiting:
            end = self.expected
        merged = taken[0] if len(taken) == 1 else [record for part in taken for record in part]
        batch = RecordBatch(self.topic, self.partition, start, end, merged)
        return batch, self.prefix.deliver(end, size)

    def _fits(self, records: int, size: int) -> bool:
        return records < self.bounds.records and size < self.bounds.bytes

    def _cut(self, fetched: FetchedRange, room: int, room_bytes: int, first: bool) -> FetchedRange:
        """Put back the part of a fetched range that is out of bounds, return the rest."""
        if fetched.size_bytes <= room_bytes:
            # Its bytes fit as a whole, so nobody need weigh each record: the rest keeps its share.
            count = room
            size = fetched.size_bytes * count // len(fetched.records)
        else:
            count, size = self._within_bounds(fetched, room, room_bytes, first)
        if count >= len(fetched.records):
            return fetched
        if count == 0:
            self._waiting.appendleft(fetched)
            return FetchedRange(fetched.start, fetched.start, (), 0)
        cut_at = fetched.records[count - 1].offset + 1
        self._waiting.appendleft(
            FetchedRange(cut_at, fetched.end, fetched.records[count:], max(fetched.size_bytes - size, 0))
        )
        return FetchedRange(fetched.start, cut_at, fetched.records[:count], size)

    def _within_bounds(self, fetched: FetchedRange, room: int, room_bytes: int, first: bool) -> tuple[int, int]:
        """How many records of a fetched range are within bounds, at least one if it is the first, and what they weigh."""
        count = size = 0
        for record in fetched.records:
            weight = record_bytes(record)
            if count >= room or (size + weight > room_bytes and not (first and count == 0)):
                break
            count += 1
            size += weight
        return count, size

    def to_commit(self) -> int | None:
        """The position to commit, None while Kafka has it already."""
        position = self.prefix.position
        return position if self.committed is None or position > self.committed else None


def record_bytes(record: Record) -> int:
    """Bytes of key and value, which is what the bounds count."""
    key, value = record.key, record.value
    return (len(key) if key is not None else 0) + (len(value) if value is not None else 0)
