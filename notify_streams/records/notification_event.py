"""Notification events: what became of a system's triggers and deliveries.

At least once. `event_id` is a function of what happened, so a repetition has the same one. An event holds no contact and no text.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final

import msgspec

from notify_streams.records.ids import delivery_id
from notify_streams.records.outcomes import DeliveryState, Reason
from notify_streams.topics import system_of

if TYPE_CHECKING:
    from notify_streams.records.channel_message import ChannelMessage

#: The state of a trigger that became a dead letter, beside those of `outcomes.DeliveryState`.
DEAD: Final = "dead"


class NotificationEvent(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The end of a delivery, a provider's receipt about it, or a trigger that became a dead letter."""

    event_id: str
    state: str
    at: datetime
    #: The number of the call; 0: no call, or a receipt.
    attempt: int
    notification_id: str | None = None
    trigger_id: str | None = None
    user_id: str | None = None
    category: str | None = None
    channel: str | None = None
    reason: str | None = None
    #: Of a dead letter: ``topic:partition:offset`` of the trigger.
    source: str | None = None


encode_event: Final = msgspec.json.Encoder().encode
read_event: Final = msgspec.json.Decoder(NotificationEvent).decode


def event_state(state: str, reason: str | None) -> str:
    """The state of an event. A complaint is about what was delivered, and differs from that."""
    return "complained" if state == DeliveryState.DELIVERED and reason == Reason.COMPLAINT.value else state


def event_id(delivery: str, attempt: int, state: str) -> str:
    """``<delivery id>:<attempt>:<state>``."""
    return f"{delivery}:{attempt}:{state}"


def delivery_event(
    notification_id: str,
    trigger_id: str,
    user_id: str,
    category: str,
    channel: str,
    state: str,
    reason: str | None,
    at: datetime,
    attempt: int = 0,
) -> bytes:
    """The encoded event of a delivery."""
    identity = event_id(delivery_id(notification_id, channel), attempt, state)
    return encode_event(
        NotificationEvent(identity, state, at, attempt, notification_id, trigger_id, user_id, category, channel, reason)
    )


def system_of_message(message: ChannelMessage) -> str | None:
    """The upstream system whose trigger a message is about; None if it is not known."""
    return message.system or system_of(message.source_topic)
