"""Reads channel messages: which records are deliveries without an outcome yet."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import msgspec

from notify_streams import metrics
from notify_streams.delivery.attempts import delivery_key, has_key
from notify_streams.delivery.partition import Delivery
from notify_streams.field_errors import DECODE_ERRORS
from notify_streams.records.channel_message import read_channel_message
from notify_streams.retry import STORE
from notify_streams.tracing.trace_context import trace_fields

if TYPE_CHECKING:
    from collections.abc import Sequence

    from notify_streams.delivery.attempt_reader import AttemptReader
    from notify_streams.delivery.delivery_spans import DeliverySpans
    from notify_streams.delivery.partition import Entry, Partition
    from notify_streams.records.batch import SourceRecord
    from notify_streams.records.channel_message import ChannelMessage
    from notify_streams.roles import Channel

log = logging.getLogger(__name__)

_LOOK_UP: Final = STORE.named("delivery.look_up")


def read_message(value: bytes | None) -> ChannelMessage:
    """The message of a record on a channel topic.

    Raises:
        msgspec.DecodeError, UnicodeDecodeError, RecursionError: it is none, or one that no delivery can have.
    """
    message = read_channel_message(value or b"")
    if not has_key(message.decided_at.timestamp()):
        raise msgspec.ValidationError("`decided_at` is not between 1970 and 2106")
    return message


class MessageReader:
    """Reads the records of one role's topic."""

    def __init__(self, role: str, channel: Channel, attempts: AttemptReader, spans: DeliverySpans | None) -> None:
        """`spans`: None while tracing is off."""
        self._role = role
        self._channel = channel
        self._attempts = attempts
        self._spans = spans

    async def read(
        self, partition: Partition, records: Sequence[SourceRecord], entries: Sequence[Entry]
    ) -> list[Delivery]:
        """The deliveries of these records.

        The entries of the others are counted: foreign ones, and those whose outcome is stored.

        Raises:
            StoreUnavailable: the partition's shard does not answer.
        """
        deliveries: list[Delivery] = []
        unknown: list[Delivery] = []
        for record, entry in zip(records, entries, strict=True):
            message = self._message(record)
            if message is None:
                entry.counted = ("foreign",)
                continue
            entry.key = delivery_key(message.delivery_id, message.decided_at.timestamp())
            is_wanted = partition.place(entry, message.source_topic, message.source_offset)
            is_new = partition.is_new(entry)
            if not is_wanted or not partition.open(entry):
                entry.counted = ("duplicate",)
                continue
            delivery = Delivery(
                partition, entry.key, message, record.value or b"", entry, published_ms=record.timestamp
            )
            if self._spans is not None:
                delivery.trace = self._spans.begin(message, record.timestamp * 1_000_000)
            (deliveries if is_new else unknown).append(delivery)
        if unknown:
            deliveries += await self._without_outcome(partition, unknown)
        return deliveries

    async def _without_outcome(self, partition: Partition, unknown: Sequence[Delivery]) -> list[Delivery]:
        """Look up deliveries that may be known; returns those without a stored outcome.

        The outbox writes a message with its notification in one transaction, so one without a notification has another source: it is not sent.
        """
        keys = [delivery.key for delivery in unknown]
        states = await _LOOK_UP.call(self._attempts.first_states, partition.number, keys)
        found: list[Delivery] = []
        for delivery in unknown:
            entry = delivery.entry
            assert entry is not None, "it comes from the topic"
            state = states.get(delivery.key)
            if state is None:
                delivery.in_doubt = partition.is_in_doubt(entry)
                found.append(delivery)
            elif partition.was_counted(entry):
                entry.counted = ("duplicate",)
            else:
                entry.count_first(state)
        if not found:
            return found
        ids = [delivery.message.notification_id for delivery in found]
        notified = await _LOOK_UP.call(self._attempts.notified, partition.number, ids)
        return [
            delivery
            for delivery in found
            if delivery.message.notification_id in notified or self._reject_unknown(delivery)
        ]

    def _message(self, record: SourceRecord) -> ChannelMessage | None:
        try:
            message = read_message(record.value)
        except DECODE_ERRORS as error:
            metrics.REJECTED_RECORDS.labels(self._role, "invalid").inc()
            log.error(
                "invalid channel message rejected",
                extra={
                    "action": "message.invalid",
                    "offset": record.offset,
                    "error": error,
                    **trace_fields(record.headers or ()),
                },
            )
            return None
        if message.channel != self._channel:
            metrics.REJECTED_RECORDS.labels(self._role, "other_channel").inc()
            log.error(
                "message for another channel rejected",
                extra={"action": "message.misrouted", "offset": record.offset, **trace_fields(record.headers or ())},
            )
            return None
        return message

    def _reject_unknown(self, delivery: Delivery) -> bool:
        """Count a message without a notification as foreign; False."""
        assert delivery.entry is not None, "it comes from the topic"
        delivery.entry.counted = ("foreign",)
        metrics.REJECTED_RECORDS.labels(self._role, "unknown_notification").inc()
        log.error(
            "message without a notification rejected",
            extra={
                "action": "message.unknown",
                "offset": delivery.entry.offset,
                **trace_fields(delivery.message.traceparent),
            },
        )
        return False
