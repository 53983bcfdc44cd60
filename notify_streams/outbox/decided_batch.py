"""A decided batch: an outcome for each trigger, a count of the other lane."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from notify_streams.records.outcomes import TriggerOutcome
from notify_streams.records.periods import with_period_end

if TYPE_CHECKING:
    from datetime import datetime

    from bson.raw_bson import RawBSONDocument

    from notify_streams.records.batch import AckHandle, OutboxRecord, SourceRecord


class RecordOutcome(msgspec.Struct, eq=False, gc=False):
    """The outcome of one trigger and everything that must be written for it."""

    outcome: TriggerOutcome
    record: SourceRecord
    outputs: Sequence[OutboxRecord] = ()
    #: Id and document of the notification, if the outcome is ``notified``.
    notification: str | None = None
    document: RawBSONDocument | None = None
    #: Equal for equal content: tells a duplicate from an id conflict.
    fingerprint: int = 0
    #: The reason of a dead letter.
    reason: str | None = None
    #: The document of a timer, if the outcome is ``waiting``.
    timer: Mapping[str, Any] | None = None
    #: Notification events, beside the outputs that the ledger counts.
    events: Sequence[OutboxRecord] = ()


class DecisionTimes(msgspec.Struct, gc=False):
    """When the decision of a batch with traced triggers began and ended: nanoseconds since the epoch."""

    began_ns: int
    ended_ns: int = 0


@dataclass(slots=True, eq=False)
class DecidedBatch:
    """Positions [`start`, `end`) of one source partition, decided."""

    topic: str
    partition: int
    start: int
    end: int
    entries: list[RecordOutcome]
    other_lane: int
    ack_handle: AckHandle
    #: Epoch of the placement under which it was decided; a later fence refuses it. None: not fenced.
    epoch: int | None = None
    #: Index into `entries` → notification id. If that notification exists, the entry is a duplicate.
    duplicate_candidates: Mapping[int, str] = field(default_factory=dict)
    #: Positions that Kafka deleted before they were read.
    lost: int = 0
    #: The period that its notifications name; None: they name none.
    period_end: datetime | None = None
    #: None: no trigger of it is traced (`TracedRecord`).
    traced: DecisionTimes | None = None
    holes: int = field(init=False)
    #: Bytes to publish, about.
    size_bytes: int = field(init=False)

    def __post_init__(self) -> None:
        self.holes = self.end - self.start - len(self.entries) - self.other_lane - self.lost
        self.size_bytes = sum([len(output[3]) for entry in self.entries for output in (*entry.outputs, *entry.events)])

    def count_in(self, period_end: datetime) -> None:
        """Let its notifications name the period in which the ledger will count them: another one only at the end of a period."""
        if self.period_end not in (None, period_end):
            self.period_end = period_end
            for entry in self.entries:
                if entry.document is not None:
                    entry.document = with_period_end(entry.document, period_end)

    @property
    def source(self) -> tuple[str, int]:
        return self.topic, self.partition
