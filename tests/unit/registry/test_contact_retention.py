"""Who may hold a person's contacts, and how they are forgotten."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from notify_streams.records.user_records import read_contacts
from notify_streams.regions.failover.protocol import HomeRegion
from notify_streams.regions.locations import Location
from notify_streams.registry.contact_retention import deletion_records, must_be_deleted
from notify_streams.registry.user import User
from tests.builders import a_placement, contacts

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
STOOD_IN = a_placement("us", eu=HomeRegion("us", 1, "us"))


@pytest.mark.parametrize(
    ("home", "standby", "held", "placement", "wanted"),
    [
        ("us", "eu", Location("us", 3, 2, None), a_placement(), False),
        ("eu", "us", Location("eu", 3, 2, None), a_placement(), False),
        ("eu", "asia", Location("eu", 3, 2, None), a_placement(), True),
        ("eu", None, Location("eu", 3, 2, None), a_placement(), True),
        ("eu", "asia", Location("us", 3, 1, None), a_placement(), False),
        ("eu", "asia", None, a_placement(), False),
        ("eu", "asia", Location("eu", 3, 2, None), STOOD_IN, False),
    ],
    ids=[
        "at home",
        "standby",
        "neither",
        "no standby",
        "the move has not come here yet",
        "unknown here",
        "served here",
    ],
)
def test_only_home_standby_and_whoever_serves_may_hold_contacts(home, standby, held, placement, wanted):
    assert must_be_deleted(User("u-42", home, 2, NOON, standby=standby), held, placement) is wanted


def test_what_is_forgotten_is_as_old_as_what_it_empties_and_goes_no_further():
    row = msgspec.json.encode(contacts())
    [(topic, partition, key, value, headers)] = deletion_records(row, 5)
    assert (topic, partition, key, list(headers)) == ("user_contacts", 5, b"u-42", [("hops", b"2")])
    empty = read_contacts(value)
    assert (empty.updated_at, empty.push, empty.sms, empty.email) == (contacts().updated_at, None, None, None)
    assert deletion_records(value, 5) == [], "an empty row is forgotten already"
    assert deletion_records(None, 5) == []
