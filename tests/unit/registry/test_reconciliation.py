"""Repairs: what differs between a registry row and the location that a region holds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from notify_streams.records.user_records import decode_location_record
from notify_streams.regions.locations import Location
from notify_streams.registry.reconciliation import SETTLES_AFTER, Repair, repair, repair_outputs
from notify_streams.registry.user import User
from notify_streams.settings import Settings

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def a_user(**but: Any) -> User:
    fields: dict[str, Any] = {"user_id": "u-1", "region": "eu", "version": 2, "updated_at": NOON}
    return User(**(fields | but))


def a_location(region: str = "eu", version: int = 2, previous: str | None = None) -> Location:
    return Location(region, 3, version, previous)


CASES: list[tuple[str, User, Location | None, str, dict[str, Any] | None]] = [
    ("agrees", a_user(), a_location(), "us", None),
    ("missing", a_user(), None, "us", {"here": True, "settled": True}),
    ("older", a_user(), a_location("us", 1), "us", {"here": True, "settled": True}),
    ("missing in a transition", a_user(previous="us"), None, "asia", {"here": True, "settled": False}),
    ("newer, other region: the registry will catch up", a_user(), a_location("us", 3), "asia", None),
    ("newer, home region: the registry lost it", a_user(), a_location("us", 3), "us", {"signup": ("us", 3)}),
    ("two of one version, the registry chose us", a_user(), a_location("us", 2), "eu", {"signup": ("eu", 3)}),
    ("two of one version, the registry chose another", a_user(), a_location("us", 2), "us", None),
    ("in transition", a_user(previous="us"), a_location(previous="us"), "eu", None),
    (
        "settled, home region",
        a_user(previous="us", updated_at=NOON - SETTLES_AFTER),
        a_location(previous="us"),
        "eu",
        {"everywhere": True},
    ),
    (
        "settled, other region",
        a_user(previous="us", updated_at=NOON - SETTLES_AFTER),
        a_location(previous="us"),
        "us",
        None,
    ),
]


@pytest.mark.parametrize(
    ("user", "location", "here", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_repair(user: User, location: Location | None, here: str, expected: dict[str, Any] | None) -> None:
    found = repair(user, location, here, NOON)
    if expected is None:
        assert found is None
        return
    assert found is not None
    got = {name: getattr(found, name) for name in expected}
    if found.signup is not None:
        got["signup"] = (found.signup.region, found.signup.version)
    assert got == expected


def test_a_settled_move_is_written_to_every_region() -> None:
    settings = Settings(region="eu", kafka="none", shards=("none",), redis="none")
    user = a_user(previous="us", updated_at=NOON - timedelta(days=3))
    outputs = repair_outputs(Repair(user, everywhere=True, settled=True), 0, settings)
    assert [topic for topic, *_ in outputs] == ["user_locations", "forward.us", "forward.asia"]
    assert {decode_location_record(value).previous for _, _, _, value, _ in outputs} == {None}
