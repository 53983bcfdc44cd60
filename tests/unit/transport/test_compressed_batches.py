"""Batches of a few records are not compressed."""

import pytest
from aiokafka.record.default_records import DefaultRecordBatch

from notify_streams.transport.batch_producer import MIN_COMPRESSED_RECORDS, ProducerRecord, build_batches

ZSTD = 4


@pytest.mark.parametrize(
    ("count", "expected"), [(1, 0), (MIN_COMPRESSED_RECORDS - 1, 0), (MIN_COMPRESSED_RECORDS, ZSTD), (1_000, ZSTD)]
)
def test_only_several_records_are_compressed(count: int, expected: int) -> None:
    records: list[ProducerRecord] = [(b"k", b'{"a": "text that repeats, text that repeats"}', ())] * count
    (builder,) = build_batches(
        "t", 0, records, now_ms=1, max_batch_bytes=1_000_000, max_record_bytes=1_000_000, compression=ZSTD
    )
    builder._build()
    batch = DefaultRecordBatch(bytearray(builder._buffer))
    assert batch.compression_type == expected
    assert [record.value for record in batch] == [value for _, value, _ in records]
