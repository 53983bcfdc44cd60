"""Contacts that come before the locations table knows a person still find the way to their home."""

from notify_streams.records.user_records import Signup
from notify_streams.regions.locations import Location
from notify_streams.registry.pending_signups import PendingSignups
from tests.builders import NOON


def signup(region: str, version: int = 1) -> Signup:
    return Signup("u-1", region, NOON, version)


def test_somebody_new_is_at_home_where_the_signup_says():
    newcomers = PendingSignups(lambda _: None)
    assert newcomers.home("u-1") is None
    newcomers.note(signup("eu"))
    assert newcomers.home("u-1") == "eu"


def test_the_newer_of_table_and_signup_counts():
    newcomers = PendingSignups(lambda _: Location("us", 3, 2, None))
    newcomers.note(signup("eu", 1))
    assert newcomers.home("u-1") == "us", "an old sign-up read again must not send contacts to an old home"
    newcomers.note(signup("asia", 3))
    newcomers.note(signup("eu", 1))
    assert newcomers.home("u-1") == "asia"
