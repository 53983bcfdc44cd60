"""Lengths of a trigger and of all that it leads to, by the encoders of the code."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

import bson
import msgspec

from devtools.benchmarks.router.load import trigger
from notify_streams.delivery.attempts import Attempt, Phase, Rank, attempt_document, delivery_key
from notify_streams.records.ids import delivery_id
from notify_streams.records.notification_event import delivery_event
from notify_streams.records.outcomes import DeliveryState
from notify_streams.records.trigger import Trigger
from notify_streams.records.user_records import ContactRow
from notify_streams.roles import CHANNELS
from notify_streams.routing.decision import ChannelDecision
from notify_streams.routing.notification_codec import NotificationEncoder
from notify_streams.routing.outcome_records import notified

if TYPE_CHECKING:
    from collections.abc import Sequence

_AT: Final = datetime(2026, 1, 1, 12, tzinfo=UTC)
_USER: Final = "u" * 16
#: Of FCM's usual length.
_TOKEN: Final = "t" * 163


@dataclass(frozen=True, slots=True)
class RecordLengths:
    """Bytes; `message`, `attempt` and `event` for each delivery."""

    trigger: int
    notification: int
    message: int
    attempt: int
    event: int


class _Record(NamedTuple):
    value: bytes
    key: bytes
    headers: Sequence[tuple[str, bytes]] = ()
    offset: int = 10**9
    timestamp: int = 1_700_000_000_000


def record_lengths() -> RecordLengths:
    """Of a trigger with a template, for a person with all contacts, that goes to one channel."""
    value = trigger("018c0000-0000-7000-8000-000000000000", _USER, False, ["push"])
    decisions = (ChannelDecision(CHANNELS[0], DeliveryState.QUEUED),)
    contacts = ContactRow(1, _TOKEN, "+15550100200", f"{_USER}@example.org")
    outcome = notified(
        _Record(value, _USER.encode()),
        "triggers.payments",
        _USER.encode(),
        "payments",
        msgspec.json.decode(value, type=Trigger),
        decisions,
        _AT,
        contacts,
        7,
        NotificationEncoder(3, "us", False, _AT, _AT, 3600),
    )
    (message,) = outcome.outputs
    notification = outcome.notification or ""
    key = delivery_key(delivery_id(notification, "push"), _AT.timestamp())
    provider_id = "projects/an-app/messages/0:1700000000000000%0123456789abcdef"
    sent = Attempt(
        Rank.SENT,
        int(_AT.timestamp() * 1000),
        None,
        "fcm",
        provider_id,
        template_version="en:1f0c22ab41e7",
        took_ms=40,
        since_published_ms=90,
        to="1f0c22ab",
    )
    return RecordLengths(
        trigger=len(value),
        notification=len(outcome.document.raw) if outcome.document is not None else 0,
        message=len(message[3]),
        attempt=len(bson.encode(attempt_document(key, 3, 1, Phase.CALL, b"own", sent))),
        event=len(delivery_event(notification, "t" * 36, _USER, "payments", "push", "sent", None, _AT, 1)),
    )
