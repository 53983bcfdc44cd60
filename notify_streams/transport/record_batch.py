"""`RecordBatch`: the value of an event of a batched topic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


class Record(Protocol):
    """One Kafka record as aiokafka's parser made it."""

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

    `start` and `end` are positions: the batch covers every offset in `start <= offset < end`. Between records there can be holes
    (compaction, transaction markers, aborted records), and lost positions. Between batches there are none: a batch starts where the one
    before it ended, unless the partition was assigned or sought anew. A batch is empty if its event was queued before a refusal.
    """

    topic: str
    partition: int
    #: The position before the batch.
    start: int
    #: The position after the batch: the offset to commit, the next to read.
    end: int
    records: Sequence[Record]
    #: Positions that Kafka deleted before they were read: the log began after the position that was next.
    lost: int = 0

    def __len__(self) -> int:
        return len(self.records)

    def __bool__(self) -> bool:
        return True
