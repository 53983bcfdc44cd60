"""The home region of a user whom the locations table does not hold yet."""

from __future__ import annotations

from notify_streams.records.user_records import Signup
from notify_streams.regions.locations import Location
from notify_streams.registry.pending_signups import PendingSignups
from tests.builders import NOON

REGIONS = ("us", "eu", "asia")


def signup(region: str, version: int = 1) -> Signup:
    return Signup("u-1", region, NOON, version)


def test_a_new_users_home_is_the_one_of_the_signup() -> None:
    pending = PendingSignups(REGIONS, lambda _: None)
    assert pending.home("u-1") is None
    pending.add(signup("eu"))
    assert pending.home("u-1") == "eu"


def test_the_newer_of_table_and_signup_counts() -> None:
    pending = PendingSignups(REGIONS, lambda _: Location("us", 3, 2, None))
    pending.add(signup("eu", 1))
    assert pending.home("u-1") == "us", "an old sign-up read again must not send contacts to an old home"
    pending.add(signup("asia", 3))
    pending.add(signup("eu", 1))
    assert pending.home("u-1") == "asia"


def test_a_home_that_is_no_region_does_not_count() -> None:
    """Contacts would be copied to a topic that does not exist, again and again."""
    pending = PendingSignups(REGIONS, lambda _: Location("us", 3, 1, None))
    pending.add(signup("a\u2028b", 9))
    assert pending.home("u-1") == "us"
    pending.add(signup("eu", 2))
    assert pending.home("u-1") == "eu"
