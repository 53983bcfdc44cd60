"""The home region of a user whom the locations table does not hold yet."""

from __future__ import annotations

from notify_streams.records.user_records import Signup
from notify_streams.regions.locations import Location
from notify_streams.registry.pending_signups import PendingSignups
from tests.builders import NOON


def signup(region: str, version: int = 1) -> Signup:
    return Signup("u-1", region, NOON, version)


def test_a_new_users_home_is_the_one_of_the_signup() -> None:
    pending = PendingSignups(lambda _: None)
    assert pending.home("u-1") is None
    pending.add(signup("eu"))
    assert pending.home("u-1") == "eu"


def test_the_newer_of_table_and_signup_counts() -> None:
    pending = PendingSignups(lambda _: Location("us", 3, 2, None))
    pending.add(signup("eu", 1))
    assert pending.home("u-1") == "us", "an old sign-up read again must not send contacts to an old home"
    pending.add(signup("asia", 3))
    pending.add(signup("eu", 1))
    assert pending.home("u-1") == "asia"
