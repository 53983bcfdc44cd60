"""Entries: for each way a trigger can end, what must be written for it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from zlib import crc32

import msgspec

from notify_streams.outbox.taken import Entry
from notify_streams.records.channel_message import SharedPart, encode_for, encode_shared
from notify_streams.records.identity import delivery_id, notification_id
from notify_streams.records.reasons import DeadReason, Outcome, State
from notify_streams.roles import channel_topic
from notify_streams.topics import DEAD_LETTERS, forward_topic

if TYPE_CHECKING:
    from notify_streams.outbox.taken import Headers, Output, SourceRecord
    from notify_streams.records.trigger import Trigger
    from notify_streams.routing.decision import Decision

_KEPT: Final = timedelta(days=90)
_DETAIL_CHARACTERS: Final = 500
#: Fits where `dead` is not told better: Kafka's own default for a record.
_KEPT_BYTES: Final = 1024 * 1024
_CUT_KEY_BYTES: Final = 1024
_TRACE: Final = "traceparent"
_encode: Final = msgspec.json.Encoder().encode
SOURCE: Final = "source"


def dead(
    record: SourceRecord, topic: str, partition: int, reason: DeadReason, detail: str, most_bytes: int = _KEPT_BYTES
) -> Entry:
    """A dead letter: the original bytes, the original headers, and why.

    Of a record with more than `most_bytes` the beginning. A client's compression hides how large a record is from Kafka, so it may be
    larger than any topic takes; what is cut off stays where it was, at the offset that the letter names.
    """
    key, value, headers = record.key, record.value or b"", record.headers
    if bytes_of(record) > most_bytes:
        key, headers = key and key[:_CUT_KEY_BYTES], ()
        value = value[: most_bytes - _CUT_KEY_BYTES]
        detail = f"{detail[: _DETAIL_CHARACTERS - 100]}; cut to its first {len(value)} bytes, without headers"
    why = (
        ("reason", reason.value.encode()),
        ("detail", detail[:_DETAIL_CHARACTERS].encode()),
        ("topic", topic.encode()),
        ("partition", b"%d" % partition),
        ("offset", b"%d" % record.offset),
    )
    output = (DEAD_LETTERS, partition, key, value, (*headers, *why))
    return Entry(Outcome.DEAD, record, (output,), reason=reason.value)


def bytes_of(record: SourceRecord) -> int:
    """Everything that travels on with the record: what is handed on must not outgrow the topic that it goes to."""
    key, value, headers = record.key, record.value, record.headers
    size = (len(value) if value else 0) + (len(key) if key else 0)
    if headers:
        size += sum(len(name) + (len(content) if content else 0) for name, content in headers)
    return size


def came_from(headers: Headers, source: str) -> Headers:
    """The headers with the place that a handed-on record had: what makes it one record, however often it is published."""
    return (*(header for header in headers if header[0] != SOURCE), (SOURCE, source.encode()))


def moved(record: SourceRecord, topic: str, partition: int, bucket: int, user_id: str) -> Entry:
    """The same record again, in its user's bucket of the same topic."""
    headers = came_from(record.headers, f"{topic}:{partition}:{record.offset}")
    output = (topic, bucket, user_id.encode(), record.value or b"", headers)
    return Entry(Outcome.REPARTITIONED, record, (output,))


def forwarded(record: SourceRecord, topic: str, bucket: int, user_id: str, region: str, headers: Headers) -> Entry:
    """The record as it came, on its way to `region`; `headers` say how far it has come."""
    headers = came_from(headers, f"{topic}:{bucket}:{record.offset}")
    output = (forward_topic(region), bucket, user_id.encode(), record.value or b"", headers)
    return Entry(Outcome.FORWARDED, record, (output,))


def fingerprint(trigger: Trigger) -> int:
    """Equal for equal content, whatever its envelope: CRC-32 over what is said, and the length of the data.

    When it was said is left out: a sender that tries again may date it anew.
    """
    data = memoryview(trigger.data)
    said = _encode(
        (
            trigger.category,
            trigger.channels,
            trigger.is_critical,
            trigger.template,
            trigger.title,
            trigger.body,
            trigger.collapse_key,
            trigger.test,
        )
    )
    return crc32(data, crc32(said)) | len(data) << 32


def notified(
    record: SourceRecord,
    bucket: int,
    trigger: Trigger,
    decision: Decision,
    preference_version: int,
    region: str,
    critical: bool,
    now: datetime,
) -> Entry:
    """The notification with a delivery for each channel, and a channel message for each that is queued."""
    trigger_id = trigger.id or ""
    notification = notification_id(trigger_id, trigger.user_id)
    key = trigger.user_id.encode()
    deliveries: dict[str, dict[str, Any]] = {}
    outputs: list[Output] = []
    shared = b""
    for planned in decision.deliveries:
        channel = planned.channel
        if planned.state is not State.QUEUED or planned.to is None:
            deliveries[channel] = {
                "state": planned.state.value,
                "reason": None if planned.reason is None else planned.reason.value,
                "attempts": 0,
                "at": now,
            }
            continue
        deliveries[channel] = {"state": "queued", "attempts": 0, "at": now}
        if not shared:
            shared = encode_shared(
                SharedPart(
                    notification_id=notification,
                    trigger_id=trigger_id,
                    user_id=trigger.user_id,
                    category=trigger.category,
                    decided_at=now,
                    critical=critical,
                    preference_version=preference_version,
                    template=trigger.template,
                    data=trigger.data,
                    title=trigger.title,
                    body=trigger.body,
                    expires_at=decision.expires_at,
                    collapse_key=trigger.collapse_key,
                    test=trigger.test,
                )
            )
            trace = tuple(header for header in record.headers if header[0] == _TRACE)
        identity = delivery_id(notification, channel)
        headers = (("id", identity.encode()), ("critical", b"1" if critical else b"0"), *trace)
        outputs.append(
            (channel_topic(channel, critical), bucket, key, encode_for(shared, identity, channel, planned.to), headers)
        )
    print_of = fingerprint(trigger)
    document = {
        "_id": notification,
        "bucket": bucket,
        "trigger_id": trigger_id,
        "user_id": trigger.user_id,
        "category": trigger.category,
        "critical": critical,
        "lane": "critical" if critical else "standard",
        "region": region,
        "decided_at": now,
        "preference_version": preference_version,
        "deliveries": deliveries,
        "fingerprint": print_of,
        # A whole hour, so that the index on it has few distinct values and its pages stay warm.
        "expire_at": now.replace(minute=0, second=0, microsecond=0) + _KEPT,
    }
    return Entry(Outcome.NOTIFIED, record, outputs, document=document, fingerprint=print_of)
