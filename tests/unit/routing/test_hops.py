"""Two headers say how far a forwarded trigger has come."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notify_streams.routing.hops import HOPS, ORIGIN, hops_of, onward

headers = st.lists(st.tuples(st.sampled_from([HOPS, ORIGIN, "x"]), st.none() | st.binary(max_size=5)), max_size=5)


@pytest.mark.parametrize("content", [None, b"", b"-1", b"x", b"1.0", b"9" * 400, b"\xff", b" 1", "²".encode()])
def test_what_is_no_number_counts_as_never(content):
    assert hops_of([(HOPS, content)]) == 0


@given(headers=headers, hops=st.integers(0, 998))
def test_each_hop_is_counted_once_and_everything_else_travels_on(headers, hops):
    found = onward(headers, hops, "us")
    assert hops_of(found) == hops + 1
    assert sum(name == HOPS for name, _ in found) == 1
    assert [header for header in found if header[0] == "x"] == [header for header in headers if header[0] == "x"]


def test_the_first_region_stays_the_origin():
    twice = onward(onward((), 0, "us"), 1, "eu")
    assert dict(twice) == {ORIGIN: b"us", HOPS: b"2"}
