"""The home region of a user whom the locations table does not hold yet."""

from __future__ import annotations

import pytest

from notify_streams.records.user_records import Signup
from notify_streams.regions.locations import Location
from notify_streams.registry import pending_signups
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


def test_a_sign_up_is_forgotten_only_after_the_table_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sign-ups of a shard that does not answer wait, while others go on."""
    monkeypatch.setattr(pending_signups, "_MAX_SIGNUPS", 3)
    located: set[str] = {f"other-{number}" for number in range(20)}
    asked: list[str] = []

    def locate(user_id: str) -> Location | None:
        asked.append(user_id)
        return Location("us", 3, 1, None) if user_id in located else None

    pending = PendingSignups(REGIONS, locate)
    pending.add(Signup("waits", "eu", NOON, 1))
    for user_id in sorted(located):
        pending.add(Signup(user_id, "us", NOON, 1))
    assert pending.home("waits") == "eu"
    assert len(pending._signups) == 3, "the others are forgotten"
    assert len(asked) <= 2 * len(located) + 2


def test_sign_ups_that_never_reach_the_table_are_limited_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pending_signups, "_MAX_SIGNUPS", 3)
    monkeypatch.setattr(pending_signups, "_MAX_WITH_WAITING", 5)
    pending = PendingSignups(REGIONS, lambda _: None)
    for number in range(20):
        pending.add(Signup(f"erased-{number}", "us", NOON, 1))
    assert len(pending._signups) <= 5
    assert pending.home("erased-19") == "us"
