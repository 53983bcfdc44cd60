"""Rows of the locations table: packed small, and the newest wins in whatever order records come."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notify_streams.records.partitioner import bucket_of
from notify_streams.records.user_records import LocationRecord, encode_record
from notify_streams.regions.locations import Location, LocationCodec
from tests.builders import users_of

REGIONS = ("us", "eu", "asia")
BUCKET = bucket_of("u-1", 8)
ROWS = LocationCodec(REGIONS, 8)

records = st.builds(
    LocationRecord,
    user_id=st.just("u-1"),
    region=st.sampled_from(REGIONS),
    version=st.integers(1, 4),
    previous=st.none() | st.sampled_from(REGIONS),
)


@given(st.sampled_from(REGIONS), st.integers(0, 1023), st.integers(1, 10_000), st.none() | st.sampled_from(REGIONS))
def test_a_row_says_what_was_packed(region: str, bucket: int, version: int, previous: str | None) -> None:
    assert ROWS.unpack(ROWS.pack(region, bucket, version, previous)) == Location(region, bucket, version, previous)


@given(st.lists(records, min_size=1, max_size=5))
def test_every_order_of_records_ends_in_the_same_row(records: list[LocationRecord]) -> None:
    ends = set()
    for order in itertools.permutations(records):
        table: dict[bytes, bytes | None] = {}
        decode = ROWS.newest(lambda bucket, user_id: table.get(user_id))  # noqa: B023 - called in the same iteration
        for record in order:
            found = decode(b"u-1", encode_record(record), BUCKET)
            if found is not None:
                table[found[0]] = found[1]
        ends.add(table[b"u-1"])
    assert len(ends) == 1
    row = ends.pop()
    assert row is not None and ROWS.unpack(row).version == max(record.version for record in records)


def test_the_end_of_a_transition_wins_over_the_transition() -> None:
    assert ROWS.pack("eu", 3, 2) > ROWS.pack("eu", 3, 2, "us") > ROWS.pack("asia", 3, 1)


@pytest.mark.parametrize("partition", range(8))
def test_a_record_is_taken_only_in_the_bucket_of_its_user(partition: int) -> None:
    """Another worker, which has that partition, would answer for the user as well."""
    record = encode_record(LocationRecord("u-1", "eu", 7))
    row = (b"u-1", ROWS.pack("eu", BUCKET, 7))
    assert ROWS.decode(b"u-1", record, partition) == (row if partition == BUCKET else None)


def test_equal_rows_are_one_object() -> None:
    record = encode_record(LocationRecord("u-1", "eu", 7))
    one, other = users_of(5, 2)
    first, second = ROWS.decode(one.encode(), record, 5), ROWS.decode(other.encode(), record, 5)
    assert first is not None and second is not None and first[1] is second[1]


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"{",
        b'{"user_id":"u-1"}',
        b'{"user_id":"u-1","region":"mars"}',
        b'{"user_id":"u-1","region":"eu","version":0}',
        b'{"user_id":"u-1","region":"eu","x":' + b"[" * 20_000 + b"]" * 20_000 + b"}",
    ],
)
def test_what_is_no_location_is_left_out(value: bytes) -> None:
    assert ROWS.decode(b"u-1", value, BUCKET) is None


def test_a_deletion_passes() -> None:
    held = ROWS.pack("eu", 0, 9)
    assert ROWS.newest(lambda bucket, user_id: held)(b"u-1", None, 0) == (b"u-1", None)


def test_rows_of_old_versions_are_not_kept_for_good() -> None:
    """A client chooses the versions of its users: each would leave a row behind."""
    codec = LocationCodec(REGIONS, 8)
    row = codec.pack("us", 3, 1)
    location = codec.unpack(row)
    assert codec.pack("us", 3, 1) is row and codec.unpack(row) is location
    for version in range(2, 100_003):
        codec.unpack(codec.pack("us", 3, version))
    assert codec.pack("us", 3, 1) is not row and codec.unpack(row) is not location
