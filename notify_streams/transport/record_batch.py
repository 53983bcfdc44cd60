"""The value that an agent gets: the records of one partition between two positions.

In: what was fetched. Out: a frozen `RecordBatch`. Copies no record and decodes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


class Record(Protocol):
    """One Kafka record as it came off the wire."""

    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int:
        """Milliseconds since the epoch."""
        ...

    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Sequence[tuple[str, bytes]]: ...


@dataclass(frozen=True, slots=True, eq=False)
class RecordBatch:
    """Consecutive records of one partition, in order.

    `start` and `end` are consumer *positions*: the batch covers every offset in `start <= offset < end`. Between
    records there may be holes (compaction, transaction markers, aborted records); between batches there are none:
    a batch starts where the batch delivered before it ended, unless the partition was assigned or sought anew.
    A batch can be empty: after a refusal, an event that was already queued carries an empty one.
    """

    topic: str
    partition: int
    #: The consumer's position before the batch.
    start: int
    #: The position after it: the offset to commit, the next to read.
    end: int
    records: Sequence[Record]

    @property
    def base_offset(self) -> int:
        """Offset of the first record, `start` in an empty batch."""
        return self.records[0].offset if self.records else self.start

    @property
    def last_offset(self) -> int:
        """Offset of the last record, `end - 1` in an empty batch."""
        return self.records[-1].offset if self.records else self.end - 1

    def __len__(self) -> int:
        return len(self.records)

    def __bool__(self) -> bool:
        return True
