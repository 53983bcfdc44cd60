"""A user is new for a minute, and a bounded number of them is kept."""

import pytest

from notify_streams.regions import recent_users
from notify_streams.regions.recent_users import RecentUsers


def test_a_user_is_recent_for_a_minute() -> None:
    now = 100.0
    recent = RecentUsers(lambda: now)
    recent.add("ada")
    now = 159.0
    recent.add("ada")  # the first time counts
    assert "ada" in recent and "bob" not in recent
    now = 161.0
    assert "ada" not in recent


def test_a_user_that_is_found_late_is_recent_for_the_rest_of_the_minute() -> None:
    now = 100.0
    recent = RecentUsers(lambda: now)
    recent.add("ada", 50.0)
    assert "ada" in recent
    now = 111.0
    assert "ada" not in recent


def test_old_and_surplus_users_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent_users, "_KEPT", 10)
    now = 0.0
    recent = RecentUsers(lambda: now)
    for number in range(50):
        recent.add(str(number))
    assert "49" in recent and "0" not in recent and len(recent._since) == 10
    for number in range(50, 60):
        now += 61.0
        recent.add(str(number))
    assert list(recent._since) == ["59"]
