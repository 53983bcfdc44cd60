"""Builders for tests about preferences: defaults that are allowed everywhere, and what a test wants to say on top."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from notify_streams.preferences.categories import Categories, load_categories
from notify_streams.preferences.choices import ChoiceChange
from notify_streams.records.channel_message import ChannelMessage
from notify_streams.records.user_records import PreferenceUpdate

PROJECT = Path(__file__).parents[3]
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def the_categories() -> Categories:
    """Those of the project: payments 1, marketing 2 (push in, email out), security 3 (push and email always)."""
    return load_categories(PROJECT / "config" / "categories.yaml")


def a_change(**but: Any) -> ChoiceChange:
    fields: dict[str, Any] = {"number": 1, "channel": "push", "opted_in": False, "at": NOON}
    return ChoiceChange(**(fields | but))


def an_update(**but: Any) -> PreferenceUpdate:
    fields: dict[str, Any] = {
        "user_id": "u-1",
        "category": "payments",
        "channel": "push",
        "opted_in": False,
        "updated_at": NOON,
    }
    return PreferenceUpdate(**(fields | but))


def a_message(**but: Any) -> ChannelMessage:
    fields: dict[str, Any] = {
        "delivery_id": "t-1-0.push",
        "channel": "push",
        "to": "token",
        "notification_id": "t-1-0",
        "trigger_id": "t-1",
        "user_id": "u-1",
        "category": "payments",
        "decided_at": datetime.now(UTC),
    }
    return ChannelMessage(**(fields | but))


def later(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)
