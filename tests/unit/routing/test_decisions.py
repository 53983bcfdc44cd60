"""The decision rule and the expiry."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notify_streams.preferences.categories import Category
from notify_streams.preferences.row_codec import choice_of, decode_row, encode_row
from notify_streams.records.devices import Device
from notify_streams.records.outcomes import DeliveryState, Reason
from notify_streams.records.trigger import Trigger
from notify_streams.roles import CHANNELS
from notify_streams.routing.decision import ChannelDecisions, decide, decision_input, expiry_of
from tests.builders import NOON, a_category, a_trigger, contacts

#: Every value of a category's two bits for each channel.
ALL_BITS = range(1 << 2 * len(CHANNELS))


def decided(
    trigger: Trigger, category: Category, addresses: Any, choice_bits: int, now: datetime
) -> tuple[ChannelDecisions, datetime]:
    expires_at = expiry_of(trigger, category, now)
    return decide(decision_input(trigger, choice_bits, addresses, expires_at <= now), category), expires_at


def addresses(user_id: str, **but: Any) -> Any:
    return contacts(user_id, **but)


def bits(**choices: Any) -> int:
    by_channel: Any = choices
    return decode_row(encode_row(1, {9: by_channel}))[1].get(9, 0) if choices else 0


#: push is in by default, sms out, email always.
DEFAULTS = {"push": "in", "sms": "out", "email": "always"}
REFUSED = (DeliveryState.SUPPRESSED, Reason.OPTED_OUT)
UNASKED = (DeliveryState.SUPPRESSED, Reason.NOT_OPTED_IN)
FORBIDDEN = (DeliveryState.SUPPRESSED, Reason.CHANNEL_NOT_ALLOWED)
NOWHERE = (DeliveryState.SUPPRESSED, Reason.NO_CONTACT)
LATE = (DeliveryState.EXPIRED, Reason.EXPIRED)
PUSH = SMS = EMAIL = (DeliveryState.QUEUED, None)
PAST = NOON - timedelta(days=2)

CASES = [
    pytest.param({}, {}, {}, {"push": PUSH, "sms": UNASKED, "email": EMAIL}, id="nothing chosen"),
    pytest.param({"push": True}, {}, {}, {"push": PUSH, "sms": UNASKED, "email": EMAIL}, id="opted in to the default"),
    pytest.param({"push": False}, {}, {}, {"push": REFUSED, "sms": UNASKED, "email": EMAIL}, id="opted out"),
    pytest.param({"sms": True}, {}, {}, {"push": PUSH, "sms": SMS, "email": EMAIL}, id="opted in where out is default"),
    pytest.param({"sms": False}, {}, {}, {"push": PUSH, "sms": REFUSED, "email": EMAIL}, id="opted out twice over"),
    pytest.param({"email": False}, {}, {}, {"push": PUSH, "sms": UNASKED, "email": EMAIL}, id="always is always"),
    pytest.param({}, {"channels": ("email",)}, {}, {"email": EMAIL}, id="one channel asked for"),
    pytest.param({}, {"channels": ("email", "push", "push")}, {}, {"push": PUSH, "email": EMAIL}, id="one asked twice"),
    pytest.param({}, {"channels": ("sms",)}, {}, {"sms": UNASKED}, id="asking does not opt in"),
    pytest.param({}, {"channels": ("push",)}, {"push": None}, {"push": NOWHERE}, id="no contact"),
    pytest.param({"push": False}, {"channels": ("push",)}, {"push": None}, {"push": REFUSED}, id="out, no contact"),
    pytest.param({}, {"expires_at": NOON}, {}, {"push": LATE, "sms": UNASKED, "email": LATE}, id="expires now"),
    pytest.param({}, {"expires_at": PAST}, {}, {"push": LATE, "sms": UNASKED, "email": LATE}, id="expired"),
    pytest.param({}, {"created_at": PAST}, {}, {"push": LATE, "sms": UNASKED, "email": LATE}, id="older than its ttl"),
    pytest.param(
        {}, {"channels": ("push",), "expires_at": PAST}, {"push": None}, {"push": LATE}, id="late, no contact"
    ),
]


@pytest.mark.parametrize(("chosen", "asked", "known", "expected"), CASES)
def test_what_becomes_of_each_channel(chosen: Any, asked: Any, known: Any, expected: Any) -> None:
    decisions, _ = decided(a_trigger(**asked), a_category(channels=DEFAULTS), contacts(**known), bits(**chosen), NOON)
    assert {one.channel: (one.state, one.reason) for one in decisions} == expected


def test_a_channel_that_the_category_lacks_is_suppressed_whatever_the_person_chose() -> None:
    category = a_category(channels={"email": "always"})
    for chosen in ALL_BITS:
        (found,), _ = decided(a_trigger(channels=("sms",)), category, contacts(), chosen, NOON)
        assert (found.state, found.reason) == FORBIDDEN


def test_without_channels_all_that_the_category_allows_is_asked_for() -> None:
    decisions, _ = decided(a_trigger(), a_category(channels={"email": "in", "push": "in"}), contacts(), 0, NOON)
    assert [one.channel for one in decisions] == ["push", "email"]


def test_a_person_without_any_contacts_gets_nothing_and_it_is_said_why() -> None:
    decisions, _ = decided(a_trigger(), a_category(channels=DEFAULTS), None, 0, NOON)
    assert [(one.state, one.reason) for one in decisions] == [NOWHERE, UNASKED, NOWHERE]


HOUR = timedelta(hours=1)
EXPIRY = [
    pytest.param({}, NOON + HOUR, id="now and the ttl"),
    pytest.param({"created_at": NOON - HOUR / 2}, NOON + HOUR / 2, id="the ttl counts from the creation"),
    pytest.param({"created_at": NOON + HOUR}, NOON + HOUR, id="a creation in the future counts as now"),
    pytest.param({"expires_at": NOON + HOUR / 4}, NOON + HOUR / 4, id="the trigger may shorten it"),
    pytest.param({"expires_at": NOON + 9 * HOUR}, NOON + HOUR, id="the trigger cannot lengthen it"),
    pytest.param(
        {"created_at": NOON - HOUR / 2, "expires_at": NOON + HOUR / 4}, NOON + HOUR / 4, id="the earlier one of both"
    ),
]


@pytest.mark.parametrize(("asked", "expires_at"), EXPIRY)
def test_when_a_notification_expires(asked: Any, expires_at: Any) -> None:
    assert decided(a_trigger(**asked), a_category(ttl_s=3600), contacts(), 0, NOON)[1] == expires_at


@given(
    chosen=st.sampled_from(ALL_BITS),
    channels=st.none() | st.lists(st.sampled_from(CHANNELS), min_size=1),
    allowed=st.dictionaries(st.sampled_from(CHANNELS), st.sampled_from(["in", "out", "always"]), min_size=1),
    reachable=st.dictionaries(st.sampled_from(CHANNELS), st.none()),
    times=st.tuples(*[st.none() | st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 28), timezones=st.just(UTC))] * 2),
)
def test_every_channel_asked_for_has_one_decision_and_only_an_allowed_contact_is_used(
    chosen: Any, channels: Any, allowed: Any, reachable: Any, times: Any
) -> None:
    category = a_category(channels=allowed)
    known = contacts(**reachable)
    trigger = a_trigger(
        channels=None if channels is None else tuple(channels), created_at=times[0], expires_at=times[1]
    )
    decisions, expires_at = decided(trigger, category, known, chosen, NOON)
    wanted = set(allowed if channels is None else channels)
    assert [one.channel for one in decisions] == [channel for channel in CHANNELS if channel in wanted]
    for one in decisions:
        assert (one.state is DeliveryState.QUEUED) == (one.reason is None)
        if one.state is DeliveryState.QUEUED:
            assert category.refusal(one.channel, choice_of(chosen, one.channel)) is None
            assert getattr(known, one.channel) is not None
            assert expires_at > NOON


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+23:59", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59-23:59"])
def test_times_at_the_ends_of_the_calendar_are_decided(text: str) -> None:
    at = datetime.fromisoformat(text)
    for asked in ({"created_at": at}, {"expires_at": at}, {"created_at": at, "expires_at": at}):
        assert decided(a_trigger(**asked), a_category(), contacts(), 0, NOON)[0]


def test_equal_inputs_are_equal_and_a_missing_contact_makes_another() -> None:
    one, other, without = (
        decision_input(a_trigger(), 0, addresses("ada"), expired=False),
        decision_input(a_trigger(), 0, addresses("ben"), expired=False),
        decision_input(a_trigger(), 0, addresses("ada", push=None), expired=False),
    )
    assert decision_input(a_trigger(), 0, addresses("ada", push=None, devices=(Device("t"),)), expired=False) == one
    assert one == other and hash(one) == hash(other) and one != without
