"""What views show, for tests of their pages without services."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from notify_streams.admin.why.story import (
    Attempt,
    Delivery,
    Entry,
    NextAttempt,
    Notification,
    OtherOutcome,
    RegionAnswer,
    Story,
    Waiting,
)
from notify_streams.admin.why.words import attempt_words, entry_words, next_words, other_words

AT = datetime(2026, 11, 28, 3, 4, 5, tzinfo=UTC)


def a_user(**but: Any) -> dict[str, Any]:
    """As `users.UserView` shows."""
    user: dict[str, Any] = {"user_id": "ann", "bucket": 7, "shard": 1, "served_by": "us"}
    user["home"] = {"region": "us", "version": 3, "updated_at": AT}
    device = {"token_sha": "0badcafe", "token_end": "9f3c", "provider": "apns", "app": "bank", "locale": "de"}
    user["contacts"] = {"push": None, "sms": "+4915112345678", "email": "ann@example.org", "updated_at": AT}
    user["contacts"]["devices"] = [device | {"last_seen": AT.isoformat()}]
    choice = {"choice": "out", "at": AT, "version": 3}
    user["preferences"] = {
        "version": 3,
        "categories": {
            "marketing": {"push": {"default": "in", "sends": False, **choice}},
            "security": {"sms": {"default": "always", "sends": True, "choice": None}},
        },
    }
    return user | but


def dead_letters(**but: Any) -> dict[str, Any]:
    """As `dead_letters.DeadLetters` shows."""
    newest = {"place": "dead_letters-3@41", "at": AT, "key": "ann", "bytes": 1_812, "reason": "not_json"}
    newest |= {"detail": "byte 0: malformed", "topic": "triggers.payments", "partition": 3, "offset": 88}
    newest |= {"headers": [("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")]}
    found = {"region": "us", "dead": 1_204, "reasons": {"expired": 4, "not_json": 1_200}, "complete": True}
    return found | {"newest": [newest]} | but


def a_story(**but: Any) -> Story:
    """What is known of a person's triggers: one of each kind."""
    entry = Entry(topic="triggers.payments", partition=3, offset=88, at=AT)
    forwarded = {
        "copied_from": "triggers.payments:3:5",
        "copied_because": "forwarded",
        "hops": 1,
        "origin_region": "eu",
    }
    called = Attempt(kind="call", number=1, state="retrying", reason="provider", provider="fcm", code="503", at=AT)
    deliveries = [
        _delivery("push", "retrying", "provider", history=[called], next_attempt=NextAttempt(number=2, due_at=AT)),
        _delivery("sms", "delivered", None, history=[msgspec.structs.replace(called, state="sent", provider="twilio")]),
        _delivery("email", "suppressed", "opted_out"),
        _delivery("email", "queued", None, in_outbox_since=AT),
        _delivery("push", "failed", "too_large"),
        _delivery("sms", "expired", "expired"),
    ]
    notified = Notification(
        region="us",
        notification_id="0af7651916cd43dd",
        trigger_id="invoice-2026/11-" + "7" * 90,
        system="payments",
        source="billing",
        user_id="ann",
        category="payment_received",
        lane="critical",
        entry=msgspec.structs.replace(entry, topic="triggers.forwarded", **forwarded),
        decided_at=AT + timedelta(milliseconds=20),
        preference_version=3,
        deliveries=deliveries,
    )
    dead = OtherOutcome(
        region="us",
        outcome="dead",
        trigger_id="t-2",
        user_id="ann",
        entry=entry,
        at=AT,
        reason="not_json",
        detail="byte 0: malformed",
        place="3:41",
        later=["it was sent again from dead letter 3:41 and notified"],
    )
    sent_on = OtherOutcome(
        region="eu", outcome="forwarded", trigger_id="t-3", user_id="ann", entry=entry, at=AT, to_region="us"
    )
    story = Story(
        asked="ann",
        by="person",
        at=AT,
        took_ms=12,
        notifications=[notified],
        dead_letters=[dead],
        others=[sent_on],
        waiting=[Waiting(region="eu", topic="triggers.payments", partition=3, due_at=AT)],
        regions=[RegionAnswer(region="us"), RegionAnswer(region="eu", problems=["MongoDB shard 1 does not answer"])],
        more=True,
    )
    return msgspec.structs.replace(story, **but)


def story_page(story: Story | None) -> dict[str, Any]:
    """The values of `why.html`, as `notifications.Notifications` gives them."""
    words = {"entry": entry_words, "attempt": attempt_words, "next_attempt": next_words, "other": other_words}
    return {"story": story} | words


def _delivery(channel: str, state: str, reason: str | None, **but: Any) -> Delivery:
    why = f"the category allows {channel}, and the person has not opted out"
    return Delivery(delivery_id=f"{channel}-{state}", channel=channel, state=state, reason=reason, why=why, **but)
