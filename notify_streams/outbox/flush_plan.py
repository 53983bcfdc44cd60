"""What one transaction writes: a pure function of the decided batches in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

from notify_streams.outbox.decided_batch import RecordOutcome
from notify_streams.outbox.row_ids import row_id
from notify_streams.records.outcomes import TriggerOutcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from bson.raw_bson import RawBSONDocument

    from notify_streams.outbox.decided_batch import DecidedBatch

#: Packed records of one row stay under this, so that no document comes near MongoDB's 16 MB.
ROW_BYTES: Final = 8 * 1024 * 1024
#: What a record's key and headers are taken for before it is packed.
_USUAL_BYTES: Final = 256
_pack = msgspec.msgpack.Encoder().encode

#: The ledger's field for each outcome.
COUNTED: Final = {
    TriggerOutcome.NOTIFIED: "notified",
    TriggerOutcome.FORWARDED: "forwarded",
    TriggerOutcome.REPARTITIONED: "repartitioned",
    TriggerOutcome.DEAD: "dead",
    TriggerOutcome.DUPLICATE: "duplicate",
}

#: A published record without its topic and partition: key, value, headers.
Packed = tuple[bytes | None, bytes, Sequence[tuple[str, bytes]]]


@dataclass(frozen=True, slots=True)
class LedgerStep:
    """One source partition's move from `start` to `end`, with what was counted on the way."""

    id: str
    bucket: int
    start: int
    end: int
    counts: Mapping[str, int]
    #: Refused by a ledger that was fenced with a later one; None: no fence concerns it.
    epoch: int | None = None


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """One outbox row: records for one partition of one topic. `records` is `document["records"]`, unpacked."""

    topic: str
    partition: int
    records: Sequence[Packed]
    document: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Flush:
    """Everything that one transaction writes."""

    id: str
    notifications: Sequence[RawBSONDocument]
    rows: Sequence[OutboxRow]
    steps: Sequence[LedgerStep]


def ledger_id(role: str, topic: str, partition: int) -> str:
    """The ledger's `_id` for one role and source partition."""
    return f"{role}:{topic}:{partition}"


def source_of(ledger: str) -> tuple[str, int]:
    """The source partition of a ledger's `_id`."""
    _, topic, partition = ledger.split(":")
    return topic, int(partition)


def plan_flush(flush_id: str, role: str, batches: Sequence[DecidedBatch], now: datetime) -> Flush:
    """Gather decided batches, each partition's in the order of their positions, into one transaction's writes."""
    outputs: dict[tuple[str, int], list[Packed]] = {}
    notifications = []
    for batch in batches:
        for entry in batch.entries:
            if entry.document is not None:
                notifications.append(entry.document)
            for topic, partition, key, value, headers in entry.outputs:
                try:
                    outputs[topic, partition].append((key, value, headers))
                except KeyError:
                    outputs[topic, partition] = [(key, value, headers)]
    rows = [
        _row(flush_id, role, topic, partition, part, now, number)
        for number, (topic, partition, part) in enumerate(
            (topic, partition, part) for (topic, partition), waiting in outputs.items() for part in _parts(waiting)
        )
    ]
    return Flush(flush_id, notifications, rows, list(_steps(role, batches)))


#: What an entry becomes whose id was used before for something else; called with the source's topic and partition.
OnConflict = Callable[[RecordOutcome, str, int], RecordOutcome]


class Known(Protocol):
    """Fingerprints of notifications that are known to exist, by id."""

    def get(self, identity: str, /) -> int | None: ...


def drop_duplicates(batches: Iterable[DecidedBatch], known: Known, on_conflict: OnConflict) -> None:
    """Turn each entry whose notification is in `known` (id -> fingerprint), or stands earlier in `batches`, into what it is.

    Same content: `duplicate`. Other content: what `on_conflict` makes of it. Changes the batches' entries in place.
    """
    seen: dict[str, int] = {}
    for batch in batches:
        for place, entry in enumerate(batch.entries):
            if entry.notification is None:
                continue
            identity = entry.notification
            before = seen.get(identity)
            if before is None:
                before = known.get(identity)
            if before is None:
                seen[identity] = entry.fingerprint
            elif before == entry.fingerprint:
                batch.entries[place] = RecordOutcome(TriggerOutcome.DUPLICATE, entry.record)
            else:
                batch.entries[place] = on_conflict(entry, batch.topic, batch.partition)


def _steps(role: str, batches: Sequence[DecidedBatch]) -> Iterable[LedgerStep]:
    by_source: dict[tuple[str, int], list[DecidedBatch]] = {}
    for batch in batches:
        by_source.setdefault(batch.source, []).append(batch)
    for (topic, partition), parts in by_source.items():
        counts = dict.fromkeys(("taken", "other_lane", "holes", *COUNTED.values()), 0)
        for part in parts:
            counts["taken"] += len(part.entries)
            counts["other_lane"] += part.other_lane
            counts["holes"] += part.holes
            for entry in part.entries:
                counts[COUNTED[entry.outcome]] += 1
                if entry.reason is not None:
                    name = f"dead_reasons.{entry.reason}"
                    counts[name] = counts.get(name, 0) + 1
        epoch = min((part.epoch for part in parts if part.epoch is not None), default=None)
        yield LedgerStep(ledger_id(role, topic, partition), partition, parts[0].start, parts[-1].end, counts, epoch)


def _parts(records: list[Packed]) -> Iterable[tuple[list[Packed], bytes]]:
    sizes = [len(value) + _USUAL_BYTES for _, value, _ in records]
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
    """The records and what they are packed; in halves, where keys and headers are heavier than anyone's but a stranger's are."""
    packed = _pack(records)
    if len(packed) <= ROW_BYTES or len(records) == 1:
        yield records, packed
        return
    middle = len(records) // 2
    yield from _packed(records[:middle])
    yield from _packed(records[middle:])


def _row(
    flush_id: str, role: str, topic: str, partition: int, part: tuple[list[Packed], bytes], now: datetime, number: int
) -> OutboxRow:
    records, packed = part
    document = {
        "_id": row_id(role, partition, flush_id, number),
        "bucket": partition,
        "topic": topic,
        "count": len(records),
        "records": packed,
        "created_at": now,
    }
    return OutboxRow(topic, partition, records, document)
