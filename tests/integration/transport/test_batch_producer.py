"""The batch producer writes batches in order, splits large ones, and names the records that it could not write."""

import asyncio
import gc
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from devtools.stack.kafka import private_broker
from notify_streams.kafka import KafkaConnection
from notify_streams.transport import BatchNotSent, BatchProducer, RecordTooLarge, TransportSettings
from tests.integration.transport.kafka_topics import a_topic, read

SMALL = TransportSettings(max_produce_bytes=4000, compression=None)


@pytest.fixture
async def producer(kafka_bootstrap: str) -> AsyncIterator[BatchProducer]:
    made = BatchProducer(KafkaConnection(kafka_bootstrap), SMALL)
    await made.start()
    yield made
    await made.stop()


async def test_a_record_may_be_larger_than_a_batch_where_the_settings_say_so(kafka_bootstrap: str) -> None:
    topic = await a_topic(kafka_bootstrap, 1)
    producer = BatchProducer(
        KafkaConnection(kafka_bootstrap), TransportSettings(max_produce_bytes=4000, max_record_bytes=1_500_000)
    )
    await producer.start()
    try:
        records = [(None, b"s" * 100, ()), (None, b"l" * 1_400_000, ()), (None, b"s" * 100, ())]
        sent = await producer.send_batch(topic, 0, records)
        assert sent is not None and (sent.first_offset, sent.last_offset) == (0, 2)
        with pytest.raises(RecordTooLarge):
            await producer.send_batch(topic, 0, [(None, b"l" * 1_500_000, ())])
    finally:
        await producer.stop()


async def test_a_batch_is_split_and_stays_in_order(kafka_bootstrap: str, producer: BatchProducer) -> None:
    topic = await a_topic(kafka_bootstrap, 1)
    records = [(b"k%d" % n, b"v" * 100, [("n", b"%d" % n)]) for n in range(200)] + [(b"gone", None, ())]
    sent = await producer.send_batch(topic, 0, records)
    assert sent is not None and (sent.first_offset, sent.last_offset, sent.count) == (0, 200, 201)
    found = await read(kafka_bootstrap, topic, 201)
    assert [(r.key, r.value, list(r.headers)) for r in found] == [(k, v, list(h)) for k, v, h in records]


async def test_nothing_to_send_is_no_error(kafka_bootstrap: str, producer: BatchProducer) -> None:
    assert await producer.send_batch("nowhere", 0, []) is None


async def test_a_record_over_the_limit_is_named(kafka_bootstrap: str, producer: BatchProducer) -> None:
    topic = await a_topic(kafka_bootstrap, 1)
    with pytest.raises(RecordTooLarge) as caught:
        await producer.send_batch(topic, 0, [(b"a", b"small", ()), (b"b", b"x" * 5000, ())])
    assert caught.value.index == 1


async def test_what_was_written_before_a_record_over_the_limit_is_named(
    kafka_bootstrap: str, producer: BatchProducer
) -> None:
    topic = await a_topic(kafka_bootstrap, 1)
    records = [(b"%d" % number, b"v" * 100, ()) for number in range(100)]
    records[90] = (b"large", b"x" * 5000, ())
    with pytest.raises(RecordTooLarge) as caught:
        await producer.send_batch(topic, 0, records)
    assert 0 < caught.value.sent <= caught.value.index == 90
    await producer.send_batch(topic, 0, records[caught.value.sent : 90] + records[91:])
    kept = [key for key, _, _ in records if key != b"large"]
    assert [record.key for record in await read(kafka_bootstrap, topic, 99)] == kept


async def test_a_broker_that_takes_less_than_expected_gets_smaller_batches(
    kafka_bootstrap: str, producer: BatchProducer
) -> None:
    topic = await a_topic(kafka_bootstrap, 1, **{"max.message.bytes": "1000"})
    sent = await producer.send_batch(topic, 0, [(b"%d" % n, b"v" * 100, ()) for n in range(100)])
    assert sent is not None and sent.count == 100
    assert [r.key for r in await read(kafka_bootstrap, topic, 100)] == [b"%d" % n for n in range(100)]
    with pytest.raises(RecordTooLarge) as caught:
        await producer.send_batch(topic, 0, [(b"ok", b"", ()), (b"b", b"x" * 2000, ())])
    assert caught.value.index == 1


async def test_while_the_broker_is_away_the_records_are_named_and_later_sent(tmp_path: Path) -> None:
    with private_broker(tmp_path / "kafka") as broker:
        topic = await a_topic(broker.address, 1)
        producer = BatchProducer(
            KafkaConnection(broker.address), TransportSettings(produce_timeout_s=1.5, compression=None)
        )
        await producer.start()
        await producer.send_batch(topic, 0, [(b"a", b"1", ())])
        broker.stop()
        with pytest.raises(BatchNotSent) as caught:
            await producer.send_batch(topic, 0, [(b"b", b"2", ()), (b"c", b"3", ())])
        assert caught.value.unsent == range(2)
        broker.start()
        for _ in range(20):
            try:
                await producer.send_batch(topic, 0, [(b"b", b"2", ())])
                break
            except BatchNotSent:
                continue
        found = [record.key for record in await read(broker.address, topic, 2)]
        assert found == [b"a", b"b"]
        await producer.stop()


async def test_a_broker_that_reads_nothing_more_ends_the_batches_in_time(tmp_path: Path) -> None:
    """To close a connection in the usual way is to write what it has buffered, which such a broker never takes."""
    with private_broker(tmp_path / "kafka") as broker:
        topic = await a_topic(broker.address, 24)
        settings = TransportSettings(produce_timeout_s=2.0, compression=None)
        producer = BatchProducer(KafkaConnection(broker.address), settings)
        await producer.start()
        await asyncio.gather(*(producer.send_batch(topic, number, [(b"a", b"1", ())]) for number in range(24)))
        broker.pause()
        try:
            more = [(b"b", b"2" * 900_000, ())] * 3  # of all partitions: more than sockets hold
            sends = [asyncio.create_task(producer.send_batch(topic, number, more)) for number in range(24)]
            _, hanging = await asyncio.wait(sends, timeout=8)
            for one in hanging:
                one.cancel()
        finally:
            broker.resume()
        assert not hanging
        assert {type(one.exception()) for one in sends} == {BatchNotSent}
        await producer.stop()


async def test_asyncio_has_no_error_to_log_that_nobody_has_read(tmp_path: Path) -> None:
    unread: list[str] = []
    with private_broker(tmp_path / "kafka") as broker:
        topic = await a_topic(broker.address, 2)
        settings = TransportSettings(produce_timeout_s=1.5, max_produce_bytes=4000, compression=None)
        producer = BatchProducer(KafkaConnection(broker.address), settings)
        await producer.start()
        await producer.send_batch(topic, 0, [(b"a", b"1", ())])
        broker.stop()
        gc.collect()  # what other tests have left
        asyncio.get_running_loop().set_exception_handler(lambda _, context: unread.append(str(context)))
        sends = (producer.send_batch(topic, number % 2, [(b"b", b"2" * 3000, ())] * 4) for number in range(4))
        found = await asyncio.gather(*sends, return_exceptions=True)
        assert [type(one) for one in found] == [BatchNotSent] * 4
        await producer.stop()
        del producer, found
        gc.collect()
        asyncio.get_running_loop().set_exception_handler(None)
    assert unread == []
