"""What an SMS says, and whether it takes too many segments."""

from __future__ import annotations

from notify_streams.delivery.providers.provider import Outgoing
from notify_streams.delivery.providers.sms.segments import SmsSize


def sms_text(message: Outgoing) -> str:
    """The title, if there is one, is the first line."""
    return message.body if message.title is None else f"{message.title}\n{message.body}"


def too_many_segments(size: SmsSize, limit: int) -> str | None:
    """The reason why a text is not sent. `limit`: the setting `max_sms_segments`."""
    if size.segments <= limit:
        return None
    return f"{size.segments} segments in {size.encoding}, providers.max_sms_segments is {limit}"
