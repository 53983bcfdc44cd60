"""Builds what must be written for each outcome of a trigger."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from zlib import crc32

import msgspec

from notify_streams.outbox.decided_batch import RecordOutcome
from notify_streams.records.batch import record_size
from notify_streams.records.channel_message import SharedPart, encode_for, encode_for_devices, encode_shared
from notify_streams.records.ids import delivery_id, notification_id
from notify_streams.records.origin import ORIGIN_HEADER, SOURCE_HEADER, entered_ms, origin_fields, origin_ms
from notify_streams.records.outcomes import DeadReason, DeliveryState, TriggerOutcome
from notify_streams.records.trigger import NO_DATA
from notify_streams.regions.forwarding.headers import read_forwarding_headers
from notify_streams.roles import CHANNELS, channel_topic
from notify_streams.topics import DEAD_LETTERS, FORWARDED, forward_topic
from notify_streams.tracing.trace_context import TRACEPARENT

if TYPE_CHECKING:
    from datetime import datetime

    from notify_streams.records.batch import Headers, OutboxRecord, SourceRecord
    from notify_streams.records.trigger import Trigger
    from notify_streams.records.user_records import ContactRow
    from notify_streams.routing.decision import ChannelDecisions
    from notify_streams.routing.notification_codec import NotificationEncoder

#: Of a dead letter, after the record's own headers.
DEAD_LETTER_HEADERS: Final = ("reason", "detail", "topic", "partition", "offset")
_MAX_DETAIL: Final = 500
#: Kafka's default limit for a record.
_MAX_RECORD_BYTES: Final = 1024 * 1024
_MAX_KEY_BYTES: Final = 1024
_NO_HEADERS: Final = ()
_NO_FIELDS: Final[dict[str, Any]] = {}
_MAX_REGION: Final = 100
_CRITICAL: Final = ("critical", b"1")
_STANDARD: Final = ("critical", b"0")
_TOPICS: Final = {
    (critical, channel): channel_topic(channel, critical) for critical in (False, True) for channel in CHANNELS
}
_encode: Final = msgspec.json.Encoder().encode
_encode_sorted: Final = msgspec.json.Encoder(order="deterministic").encode
_decode: Final = msgspec.json.Decoder().decode


def dead_letter(
    record: SourceRecord,
    topic: str,
    partition: int,
    reason: DeadReason,
    detail: str,
    max_bytes: int = _MAX_RECORD_BYTES,
) -> RecordOutcome:
    """A dead letter: the record's key, value and headers, with headers that say why and from where.

    A record of more than `max_bytes` is cut and loses its headers. Kafka limits compressed sizes, so a record can be larger than the
    limit of any topic. The whole record stays at the offset that the dead letter names.
    """
    key, value, headers = record.key, record.value or b"", record.headers
    if record_size(record) > max_bytes:
        key, headers = key and key[:_MAX_KEY_BYTES], ()
        value = value[: max_bytes - _MAX_KEY_BYTES]
        detail = f"{detail[: _MAX_DETAIL - 100]}; cut to its first {len(value)} bytes, without headers"
    why = (
        ("reason", reason.value.encode()),
        ("detail", detail[:_MAX_DETAIL].encode()),
        ("topic", topic.encode()),
        ("partition", b"%d" % partition),
        ("offset", b"%d" % record.offset),
    )
    output = (DEAD_LETTERS, partition, key, value, (*headers, *why))
    return RecordOutcome(TriggerOutcome.DEAD, record, (output,), reason=reason.value)


def id_conflict(outcome: RecordOutcome, topic: str, partition: int) -> RecordOutcome:
    """The dead letter of a trigger whose id was used before for other content."""
    detail = "this id was used before with other content"
    return dead_letter(outcome.record, topic, partition, DeadReason.ID_CONFLICT, detail)


def bad_record(outcome: RecordOutcome, topic: str, partition: int) -> RecordOutcome:
    """The dead letter of a record whose outcome a store never accepts."""
    detail = "what must be stored for this record was refused, at every attempt"
    return dead_letter(outcome.record, topic, partition, DeadReason.BAD_RECORD, detail)


def copied_headers(headers: Headers, record: SourceRecord, source: str) -> Headers:
    """`headers` for a copy of `record`, with `SOURCE_HEADER` and `ORIGIN_HEADER`."""
    kept = [header for header in headers if header[0] not in (SOURCE_HEADER, ORIGIN_HEADER)]
    return (*kept, (SOURCE_HEADER, source.encode()), (ORIGIN_HEADER, b"%d" % origin_ms(record)))


def copy_fields(record: SourceRecord, topic: str) -> dict[str, Any]:
    """What a copied trigger was copied from: see `origin_fields`; with ``hops`` and ``origin_region`` of one that another region forwarded."""
    fields = origin_fields(record)
    if topic == FORWARDED:
        forwarding = read_forwarding_headers(record.headers)
        fields |= {"hops": forwarding.hops, "origin_region": (forwarding.origin or "")[:_MAX_REGION]}
    return fields


def repartitioned(record: SourceRecord, topic: str, partition: int, bucket: int, user_id: str) -> RecordOutcome:
    """A copy of the record in its user's bucket of the same topic."""
    headers = copied_headers(record.headers, record, f"{topic}:{partition}:{record.offset}")
    output = (topic, bucket, user_id.encode(), record.value or b"", headers)
    return RecordOutcome(TriggerOutcome.REPARTITIONED, record, (output,))


def forwarded(
    record: SourceRecord, topic: str, bucket: int, user_id: str, region: str, headers: Headers
) -> RecordOutcome:
    """A copy of the record for `region`, with these headers."""
    headers = copied_headers(headers, record, f"{topic}:{bucket}:{record.offset}")
    output = (forward_topic(region), bucket, user_id.encode(), record.value or b"", headers)
    return RecordOutcome(TriggerOutcome.FORWARDED, record, (output,))


def fingerprint(trigger: Trigger) -> int:
    """Equal for equal content: the CRC-32 of the content in the low 32 bits, the length of `data` above.

    `data` is hashed in a canonical form, because a sender that tries again may write the same object with other blanks, in another order
    of names. Only the fingerprint has that form: its numbers may be longer than they were sent. `created_at` and `expires_at` are left
    out: a sender that tries again may set new times.
    """
    data = _encode_sorted(_decode(trigger.data)) if trigger.data is not NO_DATA else b""
    content = _encode(
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
    return crc32(data, crc32(content)) | len(data) << 32


def notified(
    record: SourceRecord,
    topic: str,
    user_key: bytes,
    system: str,
    trigger: Trigger,
    decisions: ChannelDecisions,
    expires_at: datetime,
    addresses: ContactRow | None,
    preference_version: int,
    encoder: NotificationEncoder,
    traceparent: str = "",
) -> RecordOutcome:
    """The notification with a delivery for each channel, and a channel message for each queued one.

    `traceparent`: of a trigger that is traced, otherwise empty.
    """
    trigger_id = trigger.id or ""
    source = trigger.source or ""
    notification = notification_id(trigger_id, trigger.user_id, system, source)
    critical = encoder.critical
    outputs: list[OutboxRecord] = []
    shared = b""
    for decision in decisions:
        if decision.state is not DeliveryState.QUEUED:
            continue
        channel = decision.channel
        if not shared:
            shared = encode_shared(
                SharedPart(
                    notification,
                    trigger_id,
                    trigger.user_id,
                    trigger.category,
                    encoder.now,
                    critical,
                    preference_version,
                    trigger.template,
                    trigger.data,
                    trigger.title,
                    trigger.body,
                    expires_at,
                    trigger.collapse_key,
                    trigger.test,
                    topic,
                    record.offset,
                    origin_ms(record),
                    None if addresses is None else addresses.locale,
                    None if addresses is None else addresses.time_zone,
                    system if topic == FORWARDED else "",
                    traceparent,
                )
            )
            trace = [header for header in record.headers if header[0] == TRACEPARENT] if record.headers else _NO_HEADERS
        delivery = delivery_id(notification, channel)
        headers = [("id", delivery.encode()), _CRITICAL if critical else _STANDARD, *trace]
        to = getattr(addresses, channel)
        if to is None and addresses is not None and addresses.devices is not None:
            message = encode_for_devices(shared, delivery, addresses.devices)
        else:
            message = encode_for(shared, delivery, channel, to)
        outputs.append((_TOPICS[critical, channel], encoder.bucket, user_key, message, headers))
    content = fingerprint(trigger)
    document = encoder.encode(
        notification,
        trigger_id,
        user_key,
        system,
        source,
        trigger.category,
        preference_version,
        decisions,
        content,
        record.offset,
        entered_ms(record),
        copy_fields(record, topic) if record.headers else _NO_FIELDS,
        traceparent,
    )
    return RecordOutcome(TriggerOutcome.NOTIFIED, record, outputs, notification, document, content)
