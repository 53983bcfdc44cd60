"""What a compressed batch inflates to is bounded, and its positions become records that no topic accepts."""

from __future__ import annotations

import gzip
import random
import tracemalloc
from collections.abc import Sequence
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy as BatchBuilder

from notify_streams.transport.bounded_inflation import MAX_HEADERS, MAX_INFLATED_BYTES, MAX_RECORDS, UNREAD
from notify_streams.transport.fetch_decoding import READ_COMMITTED, decode_fetched
from notify_streams.transport.partition_buffer import FetchedRange, record_bytes

CODECS = {"gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
#: Those that make much of little.
STRONG = ["gzip", "lz4", "zstd"]


def a_kafka_batch(first: int, *values: bytes | None, codec: str = "gzip") -> bytes:
    builder = BatchBuilder(2, CODECS[codec], 0, -1, -1, -1, 1 << 40)
    for place, value in enumerate(values):
        builder.append(place, 1_000, None, value, [])
    raw = bytearray(builder.build())
    raw[:8] = first.to_bytes(8, "big")
    return bytes(raw)


def decoded(raw: bytes, position: int) -> FetchedRange:
    records: Any = fetcher.PartitionRecords(
        TopicPartition("triggers.payments", 3), fetcher.MemoryRecords(raw), [], 0, None, None, True, READ_COMMITTED
    )
    return decode_fetched(records, position)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("size", [0, 1_000, 1_000_000, 20_000_000])
def test_what_a_worker_can_hold_is_read_unchanged(codec: str, size: int) -> None:
    value = random.Random(size).randbytes(min(size, 1_000)) * (size // 1_000 or 1)
    fetched = decoded(a_kafka_batch(7, b"first", value, None, codec=codec), 7)
    assert [record.value for record in fetched.records] == [b"first", value, None]


@pytest.mark.parametrize("codec", STRONG)
def test_a_batch_that_inflates_too_far_stops_nothing_behind_it(codec: str) -> None:
    bomb = a_kafka_batch(11, b"a", bytes(8 * MAX_INFLATED_BYTES), codec=codec)
    assert len(bomb) < 2_000_000
    raw = a_kafka_batch(10, b"before") + bomb + a_kafka_batch(13, b"after")
    tracemalloc.start()
    fetched = decoded(raw, 10)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [(one.offset, one.value) for one in fetched.records] == [
        (10, b"before"),
        (11, UNREAD),
        (12, UNREAD),
        (13, b"after"),
    ]
    assert fetched.end == 14
    assert peak < 2.5 * MAX_INFLATED_BYTES


def test_what_follows_a_lot_of_inflated_bytes_is_left_for_the_next_fetch() -> None:
    raw = b"".join(a_kafka_batch(offset, bytes(20_000_000), codec="zstd") for offset in range(10, 15))
    found = []
    position = 10
    while position < 15:
        fetched = decoded(raw, position)
        assert len(fetched.records) <= 2
        found += [one.offset for one in fetched.records]
        position = fetched.end
        raw = b"".join(a_kafka_batch(offset, bytes(20_000_000), codec="zstd") for offset in range(position, 15))
    assert found == [10, 11, 12, 13, 14]


def test_a_batch_of_too_many_records_is_not_read() -> None:
    raw = a_kafka_batch(10, *[None] * (MAX_RECORDS + 1)) + a_kafka_batch(11 + MAX_RECORDS, b"after")
    fetched = decoded(raw, 10)
    *unread, last = fetched.records
    assert {one.value for one in unread} == {UNREAD} and len(unread) == 10_000
    assert (last.offset, last.value, fetched.end) == (11 + MAX_RECORDS, b"after", 12 + MAX_RECORDS)


def test_the_members_of_a_gzip_stream_count_together() -> None:
    one = a_kafka_batch(10, bytes(MAX_INFLATED_BYTES // 2 - 1_000))
    assert decoded(one, 10).records[0].value != UNREAD
    # Attributes and CRC cover the payload, so it is built as one batch of three members.
    member = gzip.compress(bytes(MAX_INFLATED_BYTES // 2 - 1_000))
    builder = BatchBuilder(2, CODECS["gzip"], 0, -1, -1, -1, 1 << 40)
    builder.append(0, 1_000, None, b"x", [])
    builder._buffer[builder.HEADER_STRUCT.size :] = member * 3
    builder._maybe_compress = lambda: True
    assert decoded(bytes(builder.build()), 0).records[0].value == UNREAD


def test_what_cannot_be_inflated_is_not_read() -> None:
    for codec in CODECS.values():
        builder = BatchBuilder(2, codec, 0, -1, -1, -1, 1 << 40)
        builder.append(0, 1_000, None, b"x", [])
        builder._buffer[builder.HEADER_STRUCT.size :] = b"\x00garbage" * 20
        builder._maybe_compress = lambda: True
        assert decoded(bytes(builder.build()), 0).records[0].value == UNREAD


def with_headers(first: int, *headers: Sequence[tuple[str, bytes | None]], codec: str | None = "zstd") -> bytes:
    """One record for each list of headers."""
    builder = BatchBuilder(2, 0 if codec is None else CODECS[codec], 0, -1, -1, -1, 1 << 40)
    for place, some in enumerate(headers):
        builder.append(place, 1_000, None, b"v", list(some))
    raw = bytearray(builder.build())
    raw[:8] = first.to_bytes(8, "big")
    return bytes(raw)


@pytest.mark.parametrize("codec", [None, "zstd"])
def test_a_record_with_too_many_headers_is_replaced_and_no_other(codec: str | None) -> None:
    most = [("x", b"1")] * MAX_HEADERS
    fetched = decoded(with_headers(7, most, [*most, ("", None)], [], codec=codec), 7)
    assert [(one.value, len(one.headers)) for one in fetched.records] == [(b"v", MAX_HEADERS), (UNREAD, 0), (b"v", 0)]


@pytest.mark.parametrize("codec", STRONG)
def test_headers_that_inflate_to_more_than_a_worker_can_hold_are_not_made(codec: str) -> None:
    bomb = with_headers(7, [("", None)] * 2_000_000, codec=codec)
    assert len(bomb) < 20_000
    tracemalloc.start()
    fetched = decoded(bomb + a_kafka_batch(8, b"after"), 7)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [one.value for one in fetched.records] == [UNREAD, b"after"]
    assert peak < 2.5 * MAX_INFLATED_BYTES


def test_the_bytes_of_headers_count() -> None:
    """Else one fetch would hold a thousand such batches, and the buffer would ask for more."""
    batches = [with_headers(place, [("x", bytes(20_000_000))]) for place in range(4)]
    fetched = decoded(b"".join(batches), 0)
    assert (len(fetched.records), fetched.end) == (2, 2), "the others are left for the next fetch"
    assert fetched.size_bytes > 2 * 20_000_000
    assert record_bytes(fetched.records[0]) > 20_000_000
    few = decoded(with_headers(0, [("name", b"content")] * 3, codec=None), 0)
    assert few.size_bytes > 3 * 64
