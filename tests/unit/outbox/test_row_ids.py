"""An `_id` range is the backlog of one role and bucket, in write order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notify_streams.outbox.row_ids import backlog_range, created_ms, may_be_relayed, row_id
from notify_streams.records.ids import new_flush_id
from notify_streams.roles import ROLES

rows = st.tuples(st.sampled_from(ROLES), st.integers(0, 999_999), st.integers(0, 2**62), st.integers(0, 99_999))


def an_id(role: str, bucket: int, now_ns: int, number: int) -> str:
    return row_id(role, bucket, f"{now_ns:016x}00000000", number)


@given(row=rows, role=st.sampled_from(ROLES), bucket=st.integers(0, 999_999))
def test_a_row_is_only_in_the_range_of_its_role_and_bucket(
    row: tuple[str, int, int, int], role: str, bucket: int
) -> None:
    bounds = backlog_range(role, bucket)
    assert (bounds["$gte"] <= an_id(*row) < bounds["$lt"]) == (row[:2] == (role, bucket))


@given(
    one=st.tuples(st.integers(0, 2**62), st.integers(0, 99_999)),
    other=st.tuples(st.integers(0, 2**62), st.integers(0, 99_999)),
)
def test_ids_sort_as_their_rows_were_written(one: tuple[int, int], other: tuple[int, int]) -> None:
    assert (an_id("push", 3, *one) < an_id("push", 3, *other)) == (one < other)


def test_flush_ids_grow_even_if_the_clock_steps_back() -> None:
    """The relay publishes in this order, so a smaller id would publish a later flush first."""
    found = [new_flush_id(), new_flush_id(), new_flush_id(1_000), new_flush_id(999)]
    assert found == sorted(found) and len(set(found)) == 4


def test_a_row_id_contains_the_time_of_writing() -> None:
    flush = new_flush_id()
    assert created_ms(row_id("push", 3, flush, 0)) == int(flush[:16], 16) // 1_000_000


@pytest.mark.parametrize(
    ("written_s", "older_than_s", "relayed"),
    [
        (-20, 10, True),
        (-5, 10, False),
        (0, 0, True),
        (5, 10, False),
        # By the clock of a writer that was an hour ahead, or of before a step.
        (3600, 10, True),
        (3600, 0, True),
        (0.001, 0, True),
    ],
)
def test_rows_from_the_future_are_relayed_too(written_s: float, older_than_s: float, relayed: bool) -> None:
    now_ms = 1_800_000_000_000
    written_ms = int(now_ms + written_s * 1000)
    assert may_be_relayed(an_id("push", 3, written_ms * 1_000_000, 0), now_ms, int(older_than_s * 1000)) is relayed
