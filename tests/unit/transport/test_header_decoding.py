"""A header name that is not UTF-8 does not stop its partition."""

from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy as BatchBuilder

from notify_streams.transport.fetch_decoding import READ_COMMITTED, decode_fetched

_NAME = "notUTF-8"
_CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}


def a_kafka_batch(first: int, *records: tuple[bytes | None, bytes | None, list[Any]], codec: int = 0) -> bytes:
    """As the broker stores it; the header `_NAME` is made undecodable."""
    builder = BatchBuilder(2, codec, 0, -1, -1, -1, 1_000_000)
    for place, (key, value, headers) in enumerate(records):
        builder.append(place, 1_000 + place, key, value, headers)
    builder._buffer[:] = builder._buffer.replace(_NAME.encode(), b"\xff\xfeUTF-8\x80")
    raw = bytearray(builder.build())
    raw[:8] = first.to_bytes(8, "big")
    return bytes(raw)


def partition_records(raw: bytes) -> Any:
    return fetcher.PartitionRecords(
        TopicPartition("triggers.payments", 3), fetcher.MemoryRecords(raw), [], 0, None, None, True, READ_COMMITTED
    )


@pytest.mark.parametrize("codec", _CODECS)
def test_a_header_name_that_is_not_utf8_is_escaped_and_all_else_is_unchanged(codec: str) -> None:
    raw = a_kafka_batch(
        40,
        (b"k0", b"v0", [("id", b"1")]),
        (None, b"\xff", [("critical", b"1"), (_NAME, b"\xff"), ("nothing", None)]),
        (b"k2", None, []),
        codec=_CODECS[codec],
    )
    fetched = decode_fetched(partition_records(raw), 40)
    assert (fetched.start, fetched.end) == (40, 43)
    assert [(one.offset, one.timestamp, one.key, one.value, one.headers) for one in fetched.records] == [
        (40, 1_000, b"k0", b"v0", [("id", b"1")]),
        (41, 1_001, None, b"\xff", [("critical", b"1"), ("\\xff\\xfeUTF-8\\x80", b"\xff"), ("nothing", None)]),
        (42, 1_002, b"k2", None, []),
    ]


def test_batches_around_it_and_records_below_the_position_are_handled_as_usual() -> None:
    good: list[tuple[bytes | None, bytes | None, list[Any]]] = [(b"k", b"v", [])]
    raw = b"".join(
        (a_kafka_batch(10, *good), a_kafka_batch(11, *good, (b"k", b"v", [(_NAME, b"")])), a_kafka_batch(13, *good))
    )
    assert [one.offset for one in decode_fetched(partition_records(raw), 12).records] == [12, 13]
