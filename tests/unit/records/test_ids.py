"""Ids are functions of their input, and different inputs have different ones."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notify_streams.records.ids import delivery_id, notification_id, split_delivery_id, trigger_of
from notify_streams.roles import CHANNELS

words = st.text(st.characters(codec="utf-8"), min_size=1, max_size=128)


def test_a_known_id_stays_as_it_is() -> None:
    """Stored ids outlive a release: another function would notify everyone twice who is notified again."""
    stored = "018f-1-10bc6f54b2f9939addd887d6"
    assert notification_id("018f-1", "u-42", "payments", "/ledger") == stored
    assert delivery_id(stored, "push") == f"{stored}.push"


@given(trigger=words, user=words, system=words, source=st.text(st.characters(codec="utf-8")))
def test_the_trigger_leads_and_can_be_had_back(trigger: Any, user: Any, system: Any, source: Any) -> None:
    found = notification_id(trigger, user, system, source)
    assert found.startswith(trigger)
    assert trigger_of(found) == trigger
    assert notification_id(trigger, user, system, source) == found
    assert len(found) <= len(trigger) + 25


#: Short words of few characters: what one part ends with, the next may begin with.
alike = st.text("a1:-.", max_size=3)
identities = st.tuples(*[words] * 4) | st.tuples(*[alike] * 4)


@given(one=identities, other=identities)
def test_different_triggers_people_systems_or_sources_have_different_ids(one: Any, other: Any) -> None:
    assert (notification_id(*one) == notification_id(*other)) == (one == other)
    assert (delivery_id(notification_id(*one), "push") == delivery_id(notification_id(*other), "push")) == (
        one == other
    )


def test_an_id_that_looks_like_the_end_of_another_is_still_another() -> None:
    first = notification_id("a", "u", "s")
    assert notification_id(first, "u", "s") != first
    assert trigger_of(notification_id(first, "u", "s")) == first


@given(trigger=words, user=words, channel=st.sampled_from(CHANNELS))
def test_a_delivery_id_is_its_notification_and_its_channel(trigger: Any, user: Any, channel: Any) -> None:
    notification = notification_id(trigger, user, "payments")
    assert split_delivery_id(delivery_id(notification, channel)) == (notification, channel)


@pytest.mark.parametrize("text", ["", ".", "no dot", "push"])
def test_what_is_no_delivery_id_names_no_known_notification(text: str) -> None:
    notification, _ = split_delivery_id(text)
    assert notification == ""
