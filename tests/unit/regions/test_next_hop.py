"""Where triggers go: home, by way of the old home after a move, to whoever serves the home, and never round in circles."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notify_streams.regions.control import Seat, at_home
from notify_streams.regions.locations import Located
from notify_streams.regions.next_hop import MAX_HOPS, Forward, Stay, next_hop
from notify_streams.regions.placement import Placement
from notify_streams.regions.travel import HERE, Travel, arriving, onward, read_travel

REGIONS = ("us", "eu", "asia")


def seats_with(**but: Seat) -> dict[str, Seat]:
    return at_home(REGIONS) | but


def the_way(here: str, located: Located, travel: Travel = HERE, **seats: Seat) -> Stay | Forward:
    return next_hop(located, travel, Placement(here, seats_with(**seats)))


def at(region: str, version: int = 1, previous: str | None = None) -> Located:
    return Located(region, 3, version, previous)


FAILED_OVER = Seat("us", 1, "us")

CASES = [
    ("at home", "eu", at("eu"), HERE, {}, Stay.SERVE),
    ("at home elsewhere", "us", at("eu"), HERE, {}, Forward("eu", 1, 0)),
    ("the sender knows of a newer home: this one", "eu", at("us"), Travel(hops=1, location_version=2), {}, Stay.SERVE),
    ("moved: the old home looks first", "asia", at("eu", 2, "us"), HERE, {}, Forward("us", 2, 0)),
    ("moved, entered at the new home", "eu", at("eu", 2, "us"), HERE, {}, Forward("us", 2, 0)),
    ("moved, at the old home", "us", at("eu", 2, "us"), Travel(hops=1), {}, Forward("eu", 2, 0, check_own=True, cleared_by="us")),
    ("moved and cleared", "eu", at("eu", 2, "us"), Travel(hops=2, cleared_by="us"), {}, Stay.SERVE),
    ("moved, the old home is away for good", "eu", at("eu", 2, "asia"), HERE, {"asia": FAILED_OVER}, Stay.SERVE),
    ("failed over: to the standby", "asia", at("eu"), HERE, {"eu": FAILED_OVER}, Forward("us", 1, 1)),
    ("failed over: the standby serves", "us", at("eu"), HERE, {"eu": FAILED_OVER}, Stay.SERVE),
    ("failed over: the old server sends on", "eu", at("eu"), Travel(hops=1), {"eu": FAILED_OVER}, Forward("us", 1, 1)),
    ("on its way here: wait", "us", at("eu"), HERE, {"eu": Seat(None, 1, "us")}, Stay.HOLD),
    ("on its way elsewhere: send there", "eu", at("eu"), HERE, {"eu": Seat(None, 1, "us")}, Forward("us", 1, 1)),
    ("the sender knows a later epoch: wait for it", "us", at("eu"), Travel(hops=1, epoch=1), {}, Stay.HOLD),
    ("two hops were enough", "us", at("eu"), Travel(hops=2), {}, Stay.TOO_MANY_HOPS),
    ("unless who serves has changed since", "us", at("eu"), Travel(hops=2, epoch=1), {"eu": Seat("eu", 2)}, Forward("eu", 1, 2)),
    ("which is news once", "us", at("eu"), Travel(hops=3, epoch=2), {"eu": Seat("eu", 2)}, Stay.TOO_MANY_HOPS),
]  # fmt: skip


@pytest.mark.parametrize(
    ("here", "located", "travel", "seats", "wanted"), [case[1:] for case in CASES], ids=[c[0] for c in CASES]
)
def test_the_way(here: str, located: Located, travel: Travel, seats: dict[str, Seat], wanted: Stay | Forward) -> None:
    assert the_way(here, located, travel, **seats) == wanted


known = st.tuples(st.integers(1, 3), st.sampled_from(REGIONS), st.none() | st.sampled_from(REGIONS))


@given(st.sampled_from(REGIONS), st.lists(known, min_size=3, max_size=3))
@settings(max_examples=500)
def test_every_trigger_ends_within_two_hops_whatever_the_regions_believe(entered: str, beliefs: list[Any]) -> None:
    rows = {
        region: Located(home, 0, version, previous)
        for region, (version, home, previous) in zip(REGIONS, beliefs, strict=True)
    }
    here, headers, hops = entered, [], 0
    while isinstance(step := next_hop(rows[here], read_travel(headers), Placement(here, at_home(REGIONS))), Forward):
        headers = onward(
            headers, here, "triggers.forwarded", location_version=step.location_version, epoch=step.epoch, cleared_by=step.cleared_by
        )  # fmt: skip
        here, hops = step.region, hops + 1
        assert hops <= MAX_HOPS
    assert step in (Stay.SERVE, Stay.TOO_MANY_HOPS)


@given(st.sampled_from(REGIONS), st.sampled_from(REGIONS), st.none() | st.sampled_from(REGIONS))
def test_once_all_regions_agree_every_trigger_is_served_at_home(entered: str, home: str, previous: str | None) -> None:
    here, headers = entered, []
    row = Located(home, 0, 2, previous)
    way = [here]
    while isinstance(step := next_hop(row, read_travel(headers), Placement(here, at_home(REGIONS))), Forward):
        headers = onward(headers, here, "t", location_version=2, cleared_by=step.cleared_by)
        here = step.region
        way.append(here)
    assert (step, here) == (Stay.SERVE, home)
    assert previous in (None, home) or previous in way


def test_a_clients_headers_travel_unchanged_and_count_for_nothing() -> None:
    headers = [("traceparent", b"00-1"), ("hops", b"many"), ("critical", b"1")]
    assert read_travel(headers).hops == 0
    travelled = onward(headers, "us", "triggers.forwarded", location_version=4, epoch=2)
    assert travelled[:2] == [("traceparent", b"00-1"), ("critical", b"1")]
    assert read_travel(travelled) == Travel(1, "us", 4, 2)
    again = onward(travelled, "eu", "triggers.forwarded")
    assert (read_travel(again).hops, read_travel(again).origin) == (2, "us")
    assert [name for name, _ in again].count("hops") == 1


def test_no_header_of_a_client_sends_a_trigger_into_another_topic() -> None:
    for content in (b"user_locations", b"dead_letters", None, b"\xff"):
        headers = [("target", content), ("traceparent", b"00-1")]
        target, arrived = arriving(onward(headers, "us", "triggers.forwarded"))
        assert target == "triggers.forwarded"
        assert [name for name, _ in arrived] == ["traceparent", "hops", "origin"]
    assert arriving([("target", b"dead_letters")])[0] == "triggers.forwarded"
