"""One range of `_id` is one role's backlog in one bucket, in the order in which it was written."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from notify_streams.outbox.row_ids import backlog_range, created_ms, new_flush_id, row_id
from notify_streams.roles import ROLES

rows = st.tuples(st.sampled_from(ROLES), st.integers(0, 999_999), st.integers(0, 2**62), st.integers(0, 99_999))


def an_id(role: str, bucket: int, moment_ns: int, number: int) -> str:
    return row_id(role, bucket, f"{moment_ns:016x}00000000", number)


@given(row=rows, role=st.sampled_from(ROLES), bucket=st.integers(0, 999_999))
def test_a_row_is_in_its_own_range_and_in_no_other(row: Any, role: Any, bucket: int) -> None:
    identity = an_id(*row)
    bounds = backlog_range(role, bucket)
    assert (bounds["$gte"] <= identity < bounds["$lt"]) == (row[:2] == (role, bucket))


@given(
    one=st.tuples(st.integers(0, 2**62), st.integers(0, 99_999)),
    other=st.tuples(st.integers(0, 2**62), st.integers(0, 99_999)),
)
def test_ids_sort_as_their_rows_were_written(one: Any, other: Any) -> None:
    assert (an_id("push", 3, *one) < an_id("push", 3, *other)) == (one < other)


def test_flush_ids_grow_even_if_the_clock_steps_back() -> None:
    """The relay publishes in this order: a step back would publish what was said later before what was said first."""
    found = [new_flush_id(), new_flush_id(), new_flush_id(1_000), new_flush_id(999)]
    assert found == sorted(found) and len(set(found)) == 4


def test_a_row_says_when_it_was_written() -> None:
    flush = new_flush_id()
    assert created_ms(row_id("push", 3, flush, 0)) == int(flush[:16], 16) // 1_000_000
