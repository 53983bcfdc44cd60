"""Which regions must delete a user's contacts, and the records that delete them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from notify_streams.records.user_records import Contacts, read_contacts
from notify_streams.regions.failover.placement import Placement
from notify_streams.regions.failover.protocol import HomeRegion
from notify_streams.regions.locations import Location
from notify_streams.registry.contact_retention import deletion_records, must_be_deleted
from notify_streams.registry.user import User
from tests.builders import a_placement, contacts

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
SERVED_HERE = a_placement("us", eu=HomeRegion("us", 1, "us"))


@pytest.mark.parametrize(
    ("home", "standby", "location", "placement", "expected"),
    [
        ("us", "eu", Location("us", 3, 2, None), a_placement(), False),
        ("eu", "us", Location("eu", 3, 2, None), a_placement(), False),
        ("eu", "asia", Location("eu", 3, 2, None), a_placement(), True),
        ("eu", None, Location("eu", 3, 2, None), a_placement(), True),
        ("eu", "asia", Location("us", 3, 1, None), a_placement(), False),
        ("eu", "asia", None, a_placement(), False),
        ("eu", "asia", Location("eu", 3, 2, None), SERVED_HERE, False),
    ],
    ids=[
        "home",
        "standby",
        "neither",
        "no standby",
        "the move has not arrived here",
        "unknown here",
        "served here",
    ],
)
def test_only_home_standby_and_serving_region_may_hold_contacts(
    home: str, standby: str | None, location: Location | None, placement: Placement, expected: bool
) -> None:
    assert must_be_deleted(User("u-42", home, 2, NOON, standby=standby), location, placement) is expected


def test_a_deletion_keeps_the_time_of_the_row_and_is_not_copied_to_other_regions() -> None:
    [(topic, partition, key, value, headers)] = deletion_records(contacts(), 5)
    assert (topic, partition, key, list(headers)) == ("user_contacts", 5, b"u-42", [("hops", b"2")])
    empty = read_contacts(value, int(NOON.timestamp() * 1000))
    assert isinstance(empty, Contacts)
    assert (empty.updated_at, empty.push, empty.sms, empty.email) == (contacts().updated_at, None, None, None)
    assert deletion_records(empty, 5) == [], "empty contacts need no deletion"
    assert deletion_records(None, 5) == []
