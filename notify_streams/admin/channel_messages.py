"""Finds the messages of deliveries in Kafka, by the time of their decision."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from notify_streams.admin.audit.topics import TopicReader
from notify_streams.records.channel_message import read_channel_message

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
    found: dict[str, ChannelMessage] = {}
    if not wanted:
        return found
    async with TopicReader(settings) as topics:
        for topic in sorted({one.topic for one in wanted.values()}):
            here = {identity: one for identity, one in wanted.items() if one.topic == topic}
            left = set(here)
            since = min(one.decided_at for one in here.values()) - _CLOCKS
            partitions = sorted({bucket for one in here.values() for bucket in one.buckets})
            async for _, record in topics.read([topic], partitions, since):
                identity = next(
                    (content.decode("utf-8", "replace") for name, content in record.headers if name == "id"), ""
                )
                if identity in here:
                    found[identity] = read_channel_message(record.value or b"")
                    left.discard(identity)
                    if not left:
                        break
    return found
