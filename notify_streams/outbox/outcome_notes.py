"""Notes of triggers that became no notification here: dead, forwarded, duplicate.

One document of the collection `outcomes` for each such record, written in the transaction that counts it. `why` reads them: nothing finds
a dead letter in Kafka by the id of its trigger.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final

import msgspec

from notify_streams.field_errors import DECODE_ERRORS
from notify_streams.records.origin import entered_ms, origin_fields
from notify_streams.records.outcomes import TriggerOutcome
from notify_streams.topics import forward_topic, system_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from notify_streams.outbox.decided_batch import DecidedBatch, RecordOutcome
    from notify_streams.records.batch import SourceRecord

_NOTED: Final = frozenset((TriggerOutcome.DEAD, TriggerOutcome.FORWARDED, TriggerOutcome.DUPLICATE))
_TRIGGERS: Final = "triggers."
_FORWARD: Final = forward_topic("")
#: Of an id that is not valid.
_MAX_CHARS: Final = 256
_DIGEST_BYTES: Final = 8
_CE_ID: Final = "ce_id"
#: In a value that is not JSON, perhaps because it was cut.
_ID_IN_BYTES: Final = re.compile(rb'"id"\s*:\s*"([^"\\\x00-\x1f]{1,128})"')
_USER_IN_BYTES: Final = re.compile(rb'"user_id"\s*:\s*"([^"\\\x00-\x1f]{1,128})"')


class _Envelope(msgspec.Struct, gc=False):
    """The fields that say whose a trigger is. None is checked."""

    id: msgspec.Raw = msgspec.Raw()
    user_id: msgspec.Raw = msgspec.Raw()
    #: of a CloudEvent
    specversion: msgspec.Raw = msgspec.Raw()
    data: msgspec.Raw = msgspec.Raw()


_read: Final = msgspec.json.Decoder(_Envelope).decode
_text: Final = msgspec.json.Decoder(str).decode


def note_range(trigger_id: str) -> dict[str, str]:
    """The `_id` range of the notes of a trigger id."""
    prefix = _prefix(trigger_id)
    return {"$gte": f"{prefix}:", "$lt": f"{prefix};"}  # a semicolon follows a colon


def _prefix(trigger_id: str) -> str:
    """A hash: ids have no limit here, and one may begin with another."""
    return blake2b(trigger_id.encode(), digest_size=_DIGEST_BYTES).hexdigest()


def notes_of(batches: Sequence[DecidedBatch], at: datetime) -> Iterator[dict[str, Any]]:
    """The notes of these batches. A record of which neither trigger nor user can be read has none."""
    for batch in batches:
        is_triggers = batch.topic.startswith(_TRIGGERS)
        for entry in batch.entries:
            if entry.outcome in _NOTED and (is_triggers or entry.outcome is TriggerOutcome.DEAD):
                note = _note(batch.topic, batch.partition, entry, at)
                if note is not None:
                    yield note


def _note(topic: str, partition: int, entry: RecordOutcome, at: datetime) -> dict[str, Any] | None:
    """``{_id, bucket, outcome, topic, offset, entered_at, at, trigger_id, user_id, system, reason, detail, region, copy}``."""
    record = entry.record
    trigger_id, user_id = owner_of_record(record)
    if not trigger_id and not user_id:
        return None
    note: dict[str, Any] = {
        "_id": f"{_prefix(trigger_id)}:{topic}:{partition}:{record.offset}",
        "bucket": partition,
        "outcome": entry.outcome.value,
        "topic": topic,
        "offset": record.offset,
        "entered_at": datetime.fromtimestamp(entered_ms(record) / 1000, UTC),
        "at": at,
        "trigger_id": trigger_id,
        "user_id": user_id,
    }
    if system := system_of(topic):
        note["system"] = system
    if entry.outcome is TriggerOutcome.DEAD:
        note |= {"reason": entry.reason, "detail": _detail(entry)}
    elif entry.outcome is TriggerOutcome.FORWARDED and entry.outputs:
        note["region"] = entry.outputs[0][0].removeprefix(_FORWARD)
    if copy := origin_fields(record):
        note["copy"] = copy
    return note


def owner_of_record(record: SourceRecord) -> tuple[str, str]:
    """Trigger id and user id, as far as they can be read; empty if they cannot."""
    value = record.value or b""
    try:
        envelope = _read(value)
    except DECODE_ERRORS:
        return _first(_ID_IN_BYTES, value), _first(_USER_IN_BYTES, value)
    user_id = _string(envelope.user_id)
    if not user_id and envelope.specversion:
        try:
            user_id = _string(_read(envelope.data).user_id)
        except DECODE_ERRORS:
            user_id = ""
    trigger_id = _string(envelope.id)
    if not trigger_id and record.headers:
        found = next((content for name, content in record.headers if name == _CE_ID and content), b"")
        trigger_id = found.decode("utf-8", "replace")
    return trigger_id[:_MAX_CHARS], user_id[:_MAX_CHARS]


def _first(pattern: re.Pattern[bytes], value: bytes) -> str:
    found = pattern.search(value)
    return "" if found is None else found[1].decode("utf-8", "replace")


def _string(raw: msgspec.Raw) -> str:
    try:
        return _text(raw)
    except DECODE_ERRORS:
        return ""


def _detail(entry: RecordOutcome) -> str:
    """That of the dead letter's own headers, which come last."""
    headers = entry.outputs[0][4] if entry.outputs else ()
    content = next((content for name, content in reversed(headers) if name == "detail"), b"")
    return content.decode("utf-8", "replace")
