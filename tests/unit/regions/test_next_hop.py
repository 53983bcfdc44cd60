"""Next hops: to the home region, through the previous home after a move, to the serving region; no loops."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notify_streams.records.user_records import MAX_COUNTER
from notify_streams.regions.failover.placement import Placement
from notify_streams.regions.failover.protocol import HomeRegion, initial_homes
from notify_streams.regions.forwarding.headers import (
    NOT_FORWARDED,
    ForwardingHeaders,
    arrival_headers,
    forwarded_headers,
    read_forwarding_headers,
)
from notify_streams.regions.forwarding.next_hop import MAX_HOPS, Forward, LocalAction, next_hop
from notify_streams.regions.locations import Location

REGIONS = ("us", "eu", "asia")


def homes_with(**but: HomeRegion) -> dict[str, HomeRegion]:
    return initial_homes(REGIONS) | but


def hop(
    here: str, location: Location, headers: ForwardingHeaders = NOT_FORWARDED, **homes: HomeRegion
) -> LocalAction | Forward:
    return next_hop(location, headers, Placement(here, homes_with(**homes)))


def at(region: str, version: int = 1, previous: str | None = None) -> Location:
    return Location(region, 3, version, previous)


FAILED_OVER = HomeRegion("us", 1, "us")

CASES = [
    ("home region", "eu", at("eu"), NOT_FORWARDED, {}, LocalAction.SERVE),
    ("other home region", "us", at("eu"), NOT_FORWARDED, {}, Forward("eu", 1, 0)),
    ("the sender knows of a newer home: this one", "eu", at("us"), ForwardingHeaders(hops=1, location_version=2), {}, LocalAction.SERVE),
    ("moved: the previous home checks first", "asia", at("eu", 2, "us"), NOT_FORWARDED, {}, Forward("us", 2, 0)),
    ("moved, entered at the new home", "eu", at("eu", 2, "us"), NOT_FORWARDED, {}, Forward("us", 2, 0)),
    ("moved, at the old home", "us", at("eu", 2, "us"), ForwardingHeaders(hops=1), {}, Forward("eu", 2, 0, check_own=True, cleared_by="us")),
    ("moved and cleared", "eu", at("eu", 2, "us"), ForwardingHeaders(hops=2, cleared_by="us"), {}, LocalAction.SERVE),
    ("moved, the previous home has failed over", "eu", at("eu", 2, "asia"), NOT_FORWARDED, {"asia": FAILED_OVER}, LocalAction.SERVE),
    ("failed over: to the standby", "asia", at("eu"), NOT_FORWARDED, {"eu": FAILED_OVER}, Forward("us", 1, 1)),
    ("failed over: the standby serves", "us", at("eu"), NOT_FORWARDED, {"eu": FAILED_OVER}, LocalAction.SERVE),
    ("failed over: the previous server forwards", "eu", at("eu"), ForwardingHeaders(hops=1), {"eu": FAILED_OVER}, Forward("us", 1, 1)),
    ("about to be served here: wait", "us", at("eu"), NOT_FORWARDED, {"eu": HomeRegion(None, 1, "us")}, LocalAction.HOLD),
    ("about to be served by another: forward", "eu", at("eu"), NOT_FORWARDED, {"eu": HomeRegion(None, 1, "us")}, Forward("us", 1, 1)),
    ("the sender knows a later epoch: wait for it", "us", at("eu"), ForwardingHeaders(hops=1, epoch=1), {}, LocalAction.BEHIND),
    ("after two hops", "us", at("eu"), ForwardingHeaders(hops=2), {}, LocalAction.TOO_MANY_HOPS),
    ("after two hops, but the server has changed", "us", at("eu"), ForwardingHeaders(hops=2, epoch=1), {"eu": HomeRegion("eu", 2)}, Forward("eu", 1, 2)),  # noqa: E501
    ("a change allows one", "us", at("eu"), ForwardingHeaders(hops=3, epoch=2), {"eu": HomeRegion("eu", 2)}, LocalAction.TOO_MANY_HOPS),
]  # fmt: skip


@pytest.mark.parametrize(
    ("here", "location", "headers", "homes", "expected"), [case[1:] for case in CASES], ids=[c[0] for c in CASES]
)
def test_next_hop(
    here: str,
    location: Location,
    headers: ForwardingHeaders,
    homes: dict[str, HomeRegion],
    expected: LocalAction | Forward,
) -> None:
    assert hop(here, location, headers, **homes) == expected


known = st.tuples(st.integers(1, 3), st.sampled_from(REGIONS), st.none() | st.sampled_from(REGIONS))


@given(st.sampled_from(REGIONS), st.lists(known, min_size=3, max_size=3))
@settings(max_examples=500)
def test_every_trigger_ends_within_two_hops_even_if_regions_disagree(entered: str, beliefs: list[Any]) -> None:
    rows = {
        region: Location(home, 0, version, previous)
        for region, (version, home, previous) in zip(REGIONS, beliefs, strict=True)
    }
    headers: list[tuple[str, bytes]] = []
    here, hops = entered, 0
    while isinstance(
        step := next_hop(rows[here], read_forwarding_headers(headers), Placement(here, initial_homes(REGIONS))), Forward
    ):
        headers = forwarded_headers(
            headers, here, "triggers.forwarded", location_version=step.location_version, epoch=step.epoch, cleared_by=step.cleared_by
        )  # fmt: skip
        here, hops = step.region, hops + 1
        assert hops <= MAX_HOPS
    assert step in (LocalAction.SERVE, LocalAction.TOO_MANY_HOPS)


@given(st.sampled_from(REGIONS), st.sampled_from(REGIONS), st.none() | st.sampled_from(REGIONS))
def test_once_all_regions_agree_every_trigger_is_served_at_home(entered: str, home: str, previous: str | None) -> None:
    headers: list[tuple[str, bytes]] = []
    here = entered
    row = Location(home, 0, 2, previous)
    path = [here]
    while isinstance(
        step := next_hop(row, read_forwarding_headers(headers), Placement(here, initial_homes(REGIONS))), Forward
    ):
        headers = forwarded_headers(headers, here, "t", location_version=2, cleared_by=step.cleared_by)
        here = step.region
        path.append(here)
    assert (step, here) == (LocalAction.SERVE, home)
    assert previous in (None, home) or previous in path


def test_a_clients_headers_are_forwarded_unchanged_and_ignored() -> None:
    headers = [("traceparent", b"00-1"), ("hops", b"many"), ("critical", b"1")]
    assert read_forwarding_headers(headers).hops == 0
    forwarded = forwarded_headers(headers, "us", "triggers.forwarded", location_version=4, epoch=2)
    assert forwarded[:2] == [("traceparent", b"00-1"), ("critical", b"1")]
    assert read_forwarding_headers(forwarded) == ForwardingHeaders(1, "us", 4, 2)
    again = forwarded_headers(forwarded, "eu", "triggers.forwarded")
    assert (read_forwarding_headers(again).hops, read_forwarding_headers(again).origin) == (2, "us")
    assert [name for name, _ in again].count("hops") == 1


def test_no_client_header_sends_a_trigger_to_another_topic() -> None:
    for content in (b"user_locations", b"dead_letters", None, b"\xff"):
        headers: list[tuple[str, Any]] = [("target", content), ("traceparent", b"00-1")]
        target, arrived = arrival_headers(forwarded_headers(headers, "us", "triggers.forwarded"))
        assert target == "triggers.forwarded"
        assert [name for name, _ in arrived] == ["traceparent", "hops", "origin"]
    assert arrival_headers([("target", b"dead_letters")])[0] == "triggers.forwarded"


@pytest.mark.parametrize(
    "name", ["hops", "origin", "target", "location_version", "epoch", "cleared_by", "handed_over_by", "system"]
)
def test_a_forwarding_header_without_content_counts_as_absent(name: str) -> None:
    """Any client can write one, on every topic whose reader looks at these headers."""
    empty: list[tuple[str, Any]] = [(name, None)]
    assert read_forwarding_headers(empty) == NOT_FORWARDED
    assert forwarded_headers(empty, "us", "triggers.forwarded") == forwarded_headers((), "us", "triggers.forwarded")


@given(st.integers(), st.integers(), st.integers())
def test_any_number_in_a_header_leaves_numbers_that_databases_hold(hops: int, version: int, epoch: int) -> None:
    forged = [("hops", b"%d" % hops), ("location_version", b"%d" % version), ("epoch", b"%d" % epoch)]
    read = read_forwarding_headers(forged)
    assert all(0 <= number <= MAX_COUNTER for number in (read.hops, read.location_version, read.epoch))
    again = read_forwarding_headers(forwarded_headers(forged, "us", "triggers.forwarded"))
    assert again.hops > min(max(hops, 0), MAX_HOPS)
    next_hop(at("eu"), read, Placement("us", initial_homes(REGIONS)))
