"""Finds the messages of deliveries in Kafka, by the time of their decision."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from notify_streams.admin.audit.topics import TopicReader
from notify_streams.delivery.message_reader import read_message
from notify_streams.field_errors import DECODE_ERRORS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from notify_streams.delivery.failed_receipts import MessagePlace
    from notify_streams.records.channel_message import ChannelMessage
    from notify_streams.settings import Settings

#: How far the clocks of a worker and of a broker may differ.
_CLOCKS: Final = timedelta(seconds=60)


async def channel_messages(settings: Settings, wanted: Mapping[str, MessagePlace]) -> dict[str, ChannelMessage]:
    """By delivery id, those that Kafka still has.

    Raises:
        StoreUnavailable: Kafka does not answer.
    """
    if not wanted:
        return {}
    async with TopicReader(settings) as topics:
        return await messages_among(topics, wanted)


async def messages_among(topics: TopicReader, wanted: Mapping[str, MessagePlace]) -> dict[str, ChannelMessage]:
    """See `channel_messages`. A record that has the id of a delivery and is not its message is left out, as workers do."""
    found: dict[str, ChannelMessage] = {}
    for topic in sorted({one.topic for one in wanted.values()}):
        here = {identity: one for identity, one in wanted.items() if one.topic == topic}
        left = set(here)
        since = min(one.decided_at for one in here.values()) - _CLOCKS
        partitions = sorted({bucket for one in here.values() for bucket in one.buckets})
        async for _, record in topics.read([topic], partitions, since):
            content = next((content for name, content in record.headers if name == "id"), None)
            identity = (content or b"").decode("utf-8", "replace")
            if identity in here and (message := _message(identity, record.value)) is not None:
                found[identity] = message
                left.discard(identity)
                if not left:
                    break
    return found


def _message(identity: str, value: bytes | None) -> ChannelMessage | None:
    try:
        message = read_message(value)
    except DECODE_ERRORS:
        return None
    return message if message.delivery_id == identity else None
