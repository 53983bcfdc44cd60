"""Fakes of what agents work with. Each fails a given number of times, then works."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from notify_streams.errors import StoreUnavailable
from notify_streams.outbox.decided_batch import DecidedBatch
from notify_streams.records.batch import Batch, KeyedRecord, SourceRecord
from notify_streams.records.trigger import Rejection
from notify_streams.transport import BatchNotSent
from tests.builders import ABatch


@dataclass
class FakeEvent:
    """A batch event: its batch, and what was done with it."""

    value: ABatch
    acknowledged: int = 0
    refused: list[int] = field(default_factory=list)

    def ack(self) -> bool:
        self.acknowledged += 1
        return True

    def refuse(self, position: int) -> None:
        self.refused.append(position)

    def current(self) -> bool:
        return True


@dataclass
class FakeStore:
    """Counts calls; the first `failures` of them raise `StoreUnavailable`."""

    failures: int = 0
    calls: int = 0

    def called(self) -> None:
        self.calls += 1
        if self.calls <= self.failures:
            raise StoreUnavailable("a shard does not answer")


@dataclass
class FakeProducer:
    """Keeps what was published, by topic and partition."""

    failures: int = 0
    published: list[tuple[str, int, KeyedRecord]] = field(default_factory=list)

    async def send_batch(self, topic: str, partition: int, records: Sequence[KeyedRecord]) -> None:
        if self.failures:
            self.failures -= 1
            raise BatchNotSent(topic, partition, range(len(records)), TimeoutError())
        self.published += [(topic, partition, record) for record in records]

    @property
    def topics(self) -> list[str]:
        return [topic for topic, _, _ in self.published]


@dataclass
class FakeOutbox:
    """Keeps the decided batches. It acknowledges none: that is the real outbox's task after the flush."""

    submitted: list[DecidedBatch] = field(default_factory=list)

    async def submit(self, batch: DecidedBatch) -> None:
        self.submitted.append(batch)


@dataclass
class FakeWriter(FakeStore):
    """A writer that keeps what it is given."""

    applied: list[Batch] = field(default_factory=list)
    #: What each call was given as the progress so far, calls that fail included.
    progress: list[object] = field(default_factory=list)
    #: What `apply` refuses.
    refused: list[tuple[SourceRecord, Rejection]] = field(default_factory=list)

    async def apply(self, batch: Batch, progress: object) -> list[tuple[SourceRecord, Rejection]]:
        self.progress.append(progress)
        self.called()
        self.applied.append(batch)
        return self.refused
