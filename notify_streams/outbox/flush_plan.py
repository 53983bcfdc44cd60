"""Plans what one transaction writes for a list of decided batches. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

from notify_streams.outbox.decided_batch import RecordOutcome
from notify_streams.outbox.outcome_notes import notes_of
from notify_streams.outbox.row_ids import row_id
from notify_streams.records.ids import ledger_id
from notify_streams.records.outcomes import TriggerOutcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from bson.raw_bson import RawBSONDocument

    from notify_streams.outbox.decided_batch import DecidedBatch

#: Limit of one row's packed records: far below MongoDB's 16 MB for a document.
ROW_BYTES: Final = 8 * 1024 * 1024
#: Estimate for a record's key and headers before it is packed.
_OVERHEAD_BYTES: Final = 256
_pack = msgspec.msgpack.Encoder().encode

#: The ledger's field for each outcome.
COUNTED: Final = {
    TriggerOutcome.NOTIFIED: "notified",
    TriggerOutcome.FORWARDED: "forwarded",
    TriggerOutcome.REPARTITIONED: "repartitioned",
    TriggerOutcome.DEAD: "dead",
    TriggerOutcome.DUPLICATE: "duplicate",
    TriggerOutcome.WAITING: "waiting",
}

#: What the positions of a ledger are counted as.
POSITIONS: Final = ("taken", "other_lane", "holes", "lost")

#: Key, value, headers.
Packed = tuple[bytes | None, bytes, Sequence[tuple[str, bytes]]]


@dataclass(frozen=True, slots=True)
class LedgerStep:
    """Moves one ledger from `start` to `end` and adds `counts`."""

    id: str
    bucket: int
    start: int
    end: int
    counts: Mapping[str, int]
    #: A ledger with a later epoch refuses the step; None: not fenced.
    epoch: int | None = None
    #: A ledger with another open period refuses the step: the notifications name this one. None: not checked.
    period_end: datetime | None = None


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """Records of one source bucket for one partition of one topic. `records` is `document["records"]`, unpacked.

    A row is stored under the bucket that its records come from, whatever partition they go to: so all writes of a flush are on one shard.
    """

    bucket: int
    topic: str
    partition: int
    records: Sequence[Packed]
    document: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Flush:
    """The writes of one transaction."""

    id: str
    notifications: Sequence[RawBSONDocument]
    rows: Sequence[OutboxRow]
    steps: Sequence[LedgerStep]
    timers: Sequence[Mapping[str, Any]] = ()
    #: See `outcome_notes`.
    notes: Sequence[Mapping[str, Any]] = ()


def plan_flush(
    flush_id: str,
    role: str,
    batches: Sequence[DecidedBatch],
    now: datetime,
    periods: Mapping[str, datetime] = MappingProxyType({}),
) -> Flush:
    """The writes for `batches`. Batches of one partition must follow each other by position.

    `periods`: ledger id → end of its open period.
    """
    outputs_of: dict[int, dict[tuple[str, int], list[Packed]]] = {}
    notifications = []
    for batch in batches:
        outputs = outputs_of.setdefault(batch.partition, {})
        for entry in batch.entries:
            if entry.document is not None:
                notifications.append(entry.document)
            for topic, partition, key, value, headers in (*entry.outputs, *entry.events):
                try:
                    outputs[topic, partition].append((key, value, headers))
                except KeyError:
                    outputs[topic, partition] = [(key, value, headers)]
    rows = [
        _row(flush_id, role, bucket, topic, partition, part, now, number)
        for number, (bucket, topic, partition, part) in enumerate(
            (bucket, topic, partition, part)
            for bucket, outputs in outputs_of.items()
            for (topic, partition), records in outputs.items()
            for part in _parts(records)
        )
    ]
    timers = [entry.timer for batch in batches for entry in batch.entries if entry.timer is not None]
    return Flush(
        flush_id, notifications, rows, list(_steps(role, batches, periods)), timers, list(notes_of(batches, now))
    )


#: Makes the dead letter of an entry: (entry, source topic, source partition) → outcome.
DeadLetterFor = Callable[[RecordOutcome, str, int], RecordOutcome]


class KnownFingerprints(Protocol):
    """Notification id → fingerprint of notifications that exist."""

    def get(self, notification_id: str, /) -> int | None: ...


def drop_duplicates(batches: Iterable[DecidedBatch], known: KnownFingerprints, on_conflict: DeadLetterFor) -> None:
    """Replace entries whose notification is in `known` or occurs earlier in `batches`; changes the batches in place.

    Same content: `duplicate`. Other content: the result of `on_conflict`.
    """
    seen: dict[str, int] = {}
    for batch in batches:
        for index, entry in enumerate(batch.entries):
            if entry.notification is None:
                continue
            before = seen.get(entry.notification)
            if before is None:
                before = known.get(entry.notification)
            if before is None:
                seen[entry.notification] = entry.fingerprint
            elif before == entry.fingerprint:
                batch.entries[index] = RecordOutcome(TriggerOutcome.DUPLICATE, entry.record)
            else:
                batch.entries[index] = on_conflict(entry, batch.topic, batch.partition)


def _steps(role: str, batches: Sequence[DecidedBatch], periods: Mapping[str, datetime]) -> Iterable[LedgerStep]:
    by_source: dict[tuple[str, int], list[DecidedBatch]] = {}
    for batch in batches:
        by_source.setdefault(batch.source, []).append(batch)
    for (topic, partition), parts in by_source.items():
        counts = dict.fromkeys((*POSITIONS, *COUNTED.values()), 0)
        for part in parts:
            counts["taken"] += len(part.entries)
            counts["other_lane"] += part.other_lane
            counts["holes"] += part.holes
            counts["lost"] += part.lost
            for entry in part.entries:
                counts[COUNTED[entry.outcome]] += 1
                if entry.document is not None:
                    for output in entry.outputs:
                        name = f"queued.{output[0]}"
                        counts[name] = counts.get(name, 0) + 1
                if entry.reason is not None:
                    name = f"dead_reasons.{entry.reason}"
                    counts[name] = counts.get(name, 0) + 1
        epoch = min((part.epoch for part in parts if part.epoch is not None), default=None)
        identity = ledger_id(role, topic, partition)
        period_end = periods.get(identity)
        yield LedgerStep(identity, partition, parts[0].start, parts[-1].end, counts, epoch, period_end)


def _parts(records: list[Packed]) -> Iterable[tuple[list[Packed], bytes]]:
    sizes = [len(value) + _OVERHEAD_BYTES for _, value, _ in records]
    if sum(sizes) <= ROW_BYTES:
        yield from _packed(records)
        return
    part: list[Packed] = []
    size = 0
    for record, length in zip(records, sizes, strict=True):
        if part and size + length > ROW_BYTES:
            yield from _packed(part)
            part, size = [], 0
        part.append(record)
        size += length
    yield from _packed(part)


def _packed(records: list[Packed]) -> Iterable[tuple[list[Packed], bytes]]:
    """Records with their packed form; divided in halves where keys and headers are larger than estimated."""
    packed = _pack(records)
    if len(packed) <= ROW_BYTES or len(records) == 1:
        yield records, packed
        return
    middle = len(records) // 2
    yield from _packed(records[:middle])
    yield from _packed(records[middle:])


def _row(
    flush_id: str,
    role: str,
    bucket: int,
    topic: str,
    partition: int,
    part: tuple[list[Packed], bytes],
    now: datetime,
    number: int,
) -> OutboxRow:
    records, packed = part
    document = {
        "_id": row_id(role, bucket, flush_id, number),
        "bucket": bucket,
        "topic": topic,
        "partition": partition,
        "count": len(records),
        "records": packed,
        "created_at": now,
    }
    return OutboxRow(bucket, topic, partition, records, document)
