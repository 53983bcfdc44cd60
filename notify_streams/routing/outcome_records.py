"""Entries: for each way a trigger can end, what must be written for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from zlib import crc32

import msgspec

from notify_streams.outbox.decided_batch import RecordOutcome
from notify_streams.records.channel_message import SharedPart, encode_for, encode_shared
from notify_streams.records.ids import delivery_id, notification_id
from notify_streams.records.outcomes import DeadReason, DeliveryState, TriggerOutcome
from notify_streams.roles import CHANNELS, channel_topic
from notify_streams.topics import DEAD_LETTERS, forward_topic

if TYPE_CHECKING:
    from datetime import datetime

    from notify_streams.records.batch import Headers, OutboxRecord, SourceRecord
    from notify_streams.records.trigger import Trigger
    from notify_streams.routing.decision import ChannelDecisions, ReachableAddresses
    from notify_streams.routing.notification_document import NotificationTemplate

_DETAIL_CHARACTERS: Final = 500
#: Fits where `dead` is not told better: Kafka's own default for a record.
_KEPT_BYTES: Final = 1024 * 1024
_CUT_KEY_BYTES: Final = 1024
_TRACE: Final = "traceparent"
_NO_TRACE: Final = ()
_CRITICAL: Final = ("critical", b"1")
_STANDARD: Final = ("critical", b"0")
_TOPICS: Final = {
    (critical, channel): channel_topic(channel, critical) for critical in (False, True) for channel in CHANNELS
}
_encode: Final = msgspec.json.Encoder().encode
SOURCE: Final = "source"


def dead(
    record: SourceRecord, topic: str, partition: int, reason: DeadReason, detail: str, most_bytes: int = _KEPT_BYTES
) -> RecordOutcome:
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
    return RecordOutcome(TriggerOutcome.DEAD, record, (output,), reason=reason.value)


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


def repartitioned(record: SourceRecord, topic: str, partition: int, bucket: int, user_id: str) -> RecordOutcome:
    """The same record again, in its user's bucket of the same topic."""
    headers = came_from(record.headers, f"{topic}:{partition}:{record.offset}")
    output = (topic, bucket, user_id.encode(), record.value or b"", headers)
    return RecordOutcome(TriggerOutcome.REPARTITIONED, record, (output,))


def forwarded(
    record: SourceRecord, topic: str, bucket: int, user_id: str, region: str, headers: Headers
) -> RecordOutcome:
    """The record as it came, on its way to `region`; `headers` say how far it has come."""
    headers = came_from(headers, f"{topic}:{bucket}:{record.offset}")
    output = (forward_topic(region), bucket, user_id.encode(), record.value or b"", headers)
    return RecordOutcome(TriggerOutcome.FORWARDED, record, (output,))


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
    user_key: bytes,
    trigger: Trigger,
    fates: ChannelDecisions,
    expires_at: datetime,
    ways: ReachableAddresses | None,
    preference_version: int,
    form: NotificationTemplate,
) -> RecordOutcome:
    """The notification with a delivery for each channel, and a channel message for each that is queued."""
    trigger_id = trigger.id or ""
    notification = notification_id(trigger_id, trigger.user_id)
    critical = form.critical
    outputs: list[OutboxRecord] = []
    shared = b""
    for planned in fates:
        if planned.state is not DeliveryState.QUEUED:
            continue
        channel = planned.channel
        if not shared:
            shared = encode_shared(
                SharedPart(
                    notification,
                    trigger_id,
                    trigger.user_id,
                    trigger.category,
                    form.now,
                    critical,
                    preference_version,
                    trigger.template,
                    trigger.data,
                    trigger.title,
                    trigger.body,
                    expires_at,
                    trigger.collapse_key,
                    trigger.test,
                )
            )
            trace = [header for header in record.headers if header[0] == _TRACE] if record.headers else _NO_TRACE
        identity = delivery_id(notification, channel)
        headers = [("id", identity.encode()), _CRITICAL if critical else _STANDARD, *trace]
        message = encode_for(shared, identity, channel, getattr(ways, channel))
        outputs.append((_TOPICS[critical, channel], form.bucket, user_key, message, headers))
    print_of = fingerprint(trigger)
    document = form.fill(notification, trigger_id, user_key, trigger.category, preference_version, fates, print_of)
    return RecordOutcome(TriggerOutcome.NOTIFIED, record, outputs, notification, document, print_of)
