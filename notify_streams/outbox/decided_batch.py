"""What became of one batch of records: an entry for each trigger that this lane took, and counts for the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from notify_streams.records.outcomes import TriggerOutcome

if TYPE_CHECKING:
    from bson.raw_bson import RawBSONDocument

    from notify_streams.records.batch import AckHandle, OutboxRecord, SourceRecord


class RecordOutcome(msgspec.Struct, eq=False, gc=False):
    """One trigger's outcome with everything that must be written for it to hold."""

    outcome: TriggerOutcome
    record: SourceRecord
    outputs: Sequence[OutboxRecord] = ()
    #: The id and the document of the notification, where the outcome is ``notified``.
    notification: str | None = None
    document: RawBSONDocument | None = None
    #: Equal for equal content; tells a repeat from a conflict.
    fingerprint: int = 0
    #: Why it is a dead letter.
    reason: str | None = None


@dataclass(slots=True, eq=False)
class DecidedBatch:
    """One decided batch: positions [`start`, `end`) of one source partition."""

    topic: str
    partition: int
    #: Positions, not offsets: compaction and transaction markers leave holes between records, never between positions.
    start: int
    end: int
    entries: list[RecordOutcome]
    other_lane: int
    delivered: AckHandle
    #: Of the placement that it was decided by: a fence of a later one refuses it. None: no fence concerns it.
    epoch: int | None = None
    #: Place among `entries` -> notification id: if that exists, the entry is a duplicate instead.
    look_for: Mapping[int, str] = field(default_factory=dict)
    holes: int = field(init=False)
    #: About how much is to be stored and published for it.
    size_bytes: int = field(init=False)

    def __post_init__(self) -> None:
        self.holes = self.end - self.start - len(self.entries) - self.other_lane
        self.size_bytes = sum([len(output[3]) for entry in self.entries for output in entry.outputs])

    @property
    def source(self) -> tuple[str, int]:
        return self.topic, self.partition
