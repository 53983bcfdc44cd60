"""What follows a receipt that says failed."""

from datetime import UTC, datetime

import msgspec
import pytest

from notify_streams.delivery.failed_receipts import (
    follow_up,
    next_channel,
    next_trigger,
    next_trigger_id,
    tried_channels,
)
from notify_streams.delivery.receipts import Receipt
from notify_streams.records.channel_message import ChannelMessage
from notify_streams.records.trigger import Trigger, read_trigger
from notify_streams.roles import Channel
from tests.builders import a_category

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
IN_ORDER = {"sms": "in", "push": "in", "email": "in"}


def a_receipt(*, temporary: bool = False) -> Receipt:
    return Receipt("t-1.push", "failed", NOW, temporary=temporary)


@pytest.mark.parametrize(
    ("policy", "temporary", "expected"),
    [
        ("end", True, None),
        ("retry", True, "retry"),
        ("retry", False, None),
        ("next_channel", True, "next_channel"),
        ("next_channel", False, "next_channel"),
    ],
)
def test_the_category_says_what_follows(policy: str, temporary: bool, expected: str | None) -> None:
    category = a_category(on_failed_receipt=policy)
    assert follow_up(category, a_receipt(temporary=temporary)) == expected


def test_nothing_follows_by_default_or_without_a_category() -> None:
    assert follow_up(a_category(), a_receipt(temporary=True)) is None
    assert follow_up(None, a_receipt(temporary=True)) is None


@pytest.mark.parametrize(
    ("failed", "tried", "expected"),
    [
        ("sms", {"sms"}, "push"),
        ("sms", {"sms", "push"}, "email"),
        ("push", {"push"}, "email"),
        ("email", {"email"}, None),
        ("sms", {"sms", "push", "email"}, None),
    ],
)
def test_the_next_channel_is_the_next_of_the_category_that_was_not_tried(
    failed: Channel, tried: set[str], expected: str | None
) -> None:
    assert next_channel(a_category(channels=IN_ORDER), failed, tried) == expected


def test_the_ids_of_a_chain_name_the_first_one() -> None:
    first = next_trigger_id("order~1", {"push", "sms"}, "email")
    assert first == "order~1~push+sms~email"
    assert tried_channels(first) == ("order~1", frozenset(("push", "sms", "email")))
    assert tried_channels("order~1") == ("order~1", frozenset())
    assert tried_channels("a~b~c") == ("a~b~c", frozenset())
    long = next_trigger_id("x" * 128, {"push"}, "sms")
    assert len(long) <= 128 and long == next_trigger_id("x" * 128, {"push"}, "sms")


@pytest.mark.parametrize("template", [None, "payment_failed"])
def test_the_next_trigger_has_the_same_content(template: str | None) -> None:
    title, body = (None, None) if template else ("Title", "Body")
    message = ChannelMessage(
        delivery_id="d",
        channel="push",
        to="token",
        notification_id="n",
        trigger_id="order-1",
        user_id="u-42",
        category="payments",
        decided_at=NOW,
        critical=True,
        template=template,
        data=msgspec.Raw(b'{"amount":1.50}'),
        title=title,
        body=body,
        expires_at=NOW,
        collapse_key="k",
    )
    trigger = read_trigger(next_trigger(message, "order-1~push~sms", "sms"), ())
    assert isinstance(trigger, Trigger)
    assert (trigger.id, trigger.user_id, trigger.category) == ("order-1~push~sms", "u-42", "payments")
    assert (trigger.channels, trigger.is_critical, trigger.expires_at) == (("sms",), True, NOW)
    assert (trigger.template, trigger.title, trigger.body, trigger.collapse_key) == (template, title, body, "k")
    assert bytes(trigger.data) == b'{"amount":1.50}' and not trigger.test
