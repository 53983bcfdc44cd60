"""Holes left by compaction and transactions are skipped; nothing aborted is delivered."""

import asyncio

from aiokafka.errors import KafkaError

from notify_streams.transport import RecordBatch
from tests.integration.transport.batch_collector import BatchCollector, without_gaps
from tests.integration.transport.conftest import NewApp, Running
from tests.integration.transport.kafka_topics import a_producer, a_topic, fill, unique, until, until_committed


async def test_an_aborted_transaction_is_never_delivered_and_its_markers_are_committed(
    kafka_bootstrap: str, new_app: NewApp, running: Running
) -> None:
    topic = await a_topic(kafka_bootstrap, 1)
    app = new_app()
    collected = BatchCollector(app, topic)
    committed: list[bytes] = []
    async with a_producer(kafka_bootstrap, transactional_id=unique("tx")) as producer, running(app):
        for n in range(9):
            await producer.begin_transaction()
            await asyncio.gather(*[await producer.send(topic, b"%d" % n, partition=0) for _ in range(5)])
            if n % 3 == 1:
                await producer.abort_transaction()
            else:
                await producer.commit_transaction()
                committed += [b"%d" % n] * 5
        await until(lambda: collected.count == len(committed))
        await until_committed(kafka_bootstrap, app.conf.id, topic, 9 * 6)
    assert collected.values() == committed
    assert without_gaps(collected.batches)


async def test_a_compacted_topic_is_read_over_its_holes(
    kafka_bootstrap: str, new_app: NewApp, running: Running
) -> None:
    topic = await a_topic(
        kafka_bootstrap,
        1,
        **{
            "cleanup.policy": "compact",
            "segment.ms": "50",
            "min.cleanable.dirty.ratio": "0.01",
            "max.compaction.lag.ms": "100",
        },
    )
    for n in range(20):
        await fill(kafka_bootstrap, topic, 0, [b"%d" % n] * 20, key=b"same")

    async def read() -> list[RecordBatch]:
        app = new_app()
        last = app.conf.id.encode()  # another key each time, because earlier ones are still in the topic
        collected = BatchCollector(app, topic)

        def last_is_read() -> bool:
            return any(record.key == last for batch in collected.batches[-1:] for record in batch.records[-1:])

        async with running(app):
            await fill(kafka_bootstrap, topic, 0, [b"end"], key=last)
            await until(last_is_read)
            await until_committed(kafka_bootstrap, app.conf.id, topic, collected.batches[-1].end)
        return collected.batches

    for _ in range(40):
        batches = await read()
        offsets = [record.offset for batch in batches for record in batch.records]
        if len(offsets) < offsets[-1] // 2:
            break
    else:
        raise KafkaError("the broker did not compact the topic")
    assert without_gaps(batches)
    assert batches[-1].end == offsets[-1] + 1
