"""A row says what was chosen, costs a few bytes, and its version tells which of two is newer."""

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notify_streams.preferences.choices import EMPTY_RECORD
from notify_streams.preferences.row_codec import (
    EMPTY_ROW,
    IN,
    OUT,
    UNSET,
    choice_in,
    decode_row,
    encode_row,
    newer_row,
    newest_row,
    version_of,
)
from notify_streams.roles import CHANNELS

CHOICES = st.dictionaries(
    st.integers(0, 255), st.dictionaries(st.sampled_from(CHANNELS), st.booleans(), min_size=1), max_size=8
)
VERSIONS = st.integers(0, 2**40)


@given(VERSIONS, CHOICES)
def test_what_was_compiled_is_read_back(version: Any, choices: Any) -> None:
    row = encode_row(version, choices)
    assert version_of(row) == version
    read_version, bits = decode_row(row)
    assert read_version == version
    assert bits.keys() == choices.keys()
    for number, chosen in choices.items():
        for channel in CHANNELS:
            expected = UNSET if channel not in chosen else IN if chosen[channel] else OUT
            assert choice_in(row, number, channel) == expected


@given(VERSIONS, CHOICES, VERSIONS, CHOICES)
def test_the_newest_is_the_higher_version_from_either_side(
    one_version: Any, one: Any, other_version: Any, other: Any
) -> None:
    rows = encode_row(one_version, one), encode_row(other_version, other)
    for first, second in (rows, rows[::-1]):
        assert version_of(newer_row(first, second)) == max(one_version, other_version)


def test_who_chose_nothing_has_version_0_and_no_choice() -> None:
    assert EMPTY_RECORD.row() == EMPTY_ROW
    assert version_of(EMPTY_ROW) == 0
    assert choice_in(EMPTY_ROW, 1, "push") == UNSET


@pytest.mark.parametrize(("version", "size"), [(1, 7), (127, 7), (128, 8), (100_000, 9)])
def test_three_categories_cost_seven_to_nine_bytes(version: int, size: int) -> None:
    assert len(encode_row(version, {number: {"push": False} for number in (1, 2, 3)})) == size


@pytest.mark.parametrize(
    ("row", "is_taken"),
    [
        (encode_row(2**63 - 1, {number: dict.fromkeys(CHANNELS, False) for number in range(256)}), True),
        (encode_row(2**63, {1: {"push": False}}), False),
        (b"\xff" * 30_000 + b"\x01", False),
    ],
    ids=["the longest", "a version that MongoDB cannot hold", "longer than any"],
)
def test_a_table_takes_no_row_that_is_larger_than_stores_hold(row: bytes, is_taken: bool) -> None:
    began = time.process_time()
    assert newest_row(lambda *_: None)(b"k", row, 0) == ((b"k", row) if is_taken else None)
    assert time.process_time() - began < 0.05


@given(st.binary(max_size=20))
def test_a_table_takes_only_rows_that_can_be_read_and_never_an_older_one(value: bytes) -> None:
    held = encode_row(5, {1: {"push": True}})
    try:
        newer = 5 <= decode_row(value)[0] < 2**63
    except (IndexError, ValueError):
        newer = False
    assert newest_row(lambda *_: held)(b"k", value, 0) == ((b"k", value) if newer else None)
