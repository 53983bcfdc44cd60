"""A story is open while something may still happen to the trigger."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from notify_streams.admin.why.story import Delivery, Entry, Notification, OtherOutcome, Story, Waiting

NOW = datetime(2026, 11, 28, tzinfo=UTC)
ENTRY = Entry(topic="triggers.payments", partition=3)
EMPTY = Story(
    asked="t", by="trigger", at=NOW, took_ms=1, notifications=[], dead_letters=[], others=[], waiting=[], regions=[]
)


def notified(*states: str) -> Notification:
    return Notification(
        region="us",
        notification_id="n",
        trigger_id="t",
        system="payments",
        user_id="ada",
        category="payments",
        lane="standard",
        entry=ENTRY,
        decided_at=NOW,
        preference_version=1,
        deliveries=[Delivery(delivery_id=state, channel="push", state=state, why="") for state in states],
    )


def other(outcome: str) -> OtherOutcome:
    return OtherOutcome(region="us", outcome=outcome, trigger_id="t", user_id="ada", entry=ENTRY, at=NOW)


@pytest.mark.parametrize(
    ("changes", "is_open"),
    [
        ({}, True),
        ({"notifications": [notified("sent", "queued")]}, True),
        ({"notifications": [notified("retrying")]}, True),
        ({"notifications": [notified("sent", "suppressed", "failed", "expired", "delivered")]}, False),
        ({"others": [other("forwarded")]}, True),
        ({"others": [other("duplicate")], "notifications": [notified("sent")]}, False),
        ({"dead_letters": [other("dead")]}, False),
        ({"waiting": [Waiting(region="us", topic="triggers.payments", partition=3, due_at=NOW)]}, True),
    ],
)
def test_what_may_still_happen(changes: dict[str, object], is_open: bool) -> None:
    story = Story(**{name: getattr(EMPTY, name) for name in Story.__struct_fields__} | changes)
    assert story.is_open is is_open
