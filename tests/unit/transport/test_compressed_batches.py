"""Batches are packed where that pays: a few records go as they are."""

from types import SimpleNamespace

import pytest
from aiokafka.record.default_records import DefaultRecordBatch

from notify_streams.kafka import KafkaConnection
from notify_streams.transport import BatchProducer
from notify_streams.transport.batch_producer import FEW

ZSTD = 4


@pytest.mark.parametrize(("count", "wanted"), [(1, 0), (FEW - 1, 0), (FEW, ZSTD), (1_000, ZSTD)])
def test_only_several_records_are_compressed(count, wanted):
    codec = SimpleNamespace(_message_accumulator=SimpleNamespace(_compression_type=ZSTD))
    records = [(b"k", b'{"a": "text that repeats, text that repeats"}', ())] * count
    (builder,) = BatchProducer(KafkaConnection("nowhere"))._chunks(codec, "t", 0, records, 0, 1, 1_000_000)
    builder._build()
    batch = DefaultRecordBatch(bytearray(builder._buffer))
    assert batch.compression_type == wanted
    assert [record.value for record in batch] == [value for _, value, _ in records]
