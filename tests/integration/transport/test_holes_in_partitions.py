"""Compaction and transactions leave holes between offsets: nothing hangs on them and nothing aborted is delivered."""

import asyncio

from aiokafka.errors import KafkaError

from notify_streams.transport import RecordBatch, batched_topic
from tests.integration.transport.kafka_topics import a_producer, a_topic, fill, unique, until, until_committed


def acknowledging(app, topic: str, batches: list[RecordBatch]) -> None:
    @app.agent(batched_topic(app, topic))
    async def take(stream):
        async for event in stream.noack().events():
            batches.append(event.value)
            event.ack()


def chained(batches: list[RecordBatch]) -> bool:
    return [batch.start for batch in batches[1:]] == [batch.end for batch in batches[:-1]]


async def test_an_aborted_transaction_is_never_delivered_and_its_markers_are_committed(
    kafka_bootstrap, new_app, running
) -> None:
    topic = await a_topic(kafka_bootstrap, 1)
    app, batches = new_app(), []
    acknowledging(app, topic, batches)
    wanted = []
    async with a_producer(kafka_bootstrap, transactional_id=unique("tx")) as producer, running(app):
        for n in range(9):
            await producer.begin_transaction()
            await asyncio.gather(*[await producer.send(topic, b"%d" % n, partition=0) for _ in range(5)])
            if n % 3 == 1:
                await producer.abort_transaction()
            else:
                await producer.commit_transaction()
                wanted += [b"%d" % n] * 5
        await until(lambda: sum(map(len, batches)) == len(wanted))
        await until_committed(kafka_bootstrap, app.conf.id, topic, 9 * 6)
    assert [record.value for batch in batches for record in batch.records] == wanted
    assert chained(batches)


async def test_a_compacted_topic_is_read_over_its_holes(kafka_bootstrap, new_app, running) -> None:
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
    batches: list[RecordBatch] = []

    async def read() -> list[int]:
        batches.clear()
        app = new_app()
        last = app.conf.id.encode()  # not the last one of an earlier reading, behind which this one is still to come
        acknowledging(app, topic, batches)
        async with running(app):
            await fill(kafka_bootstrap, topic, 0, [b"end"], key=last)
            await until(lambda: batches and batches[-1].records and batches[-1].records[-1].key == last)
            await until_committed(kafka_bootstrap, app.conf.id, topic, batches[-1].end)
        return [record.offset for batch in batches for record in batch.records]

    for _ in range(40):
        offsets = await read()
        if len(offsets) < offsets[-1] // 2:
            break
    else:
        raise KafkaError("the broker did not compact the topic")
    assert chained(batches)
    assert batches[-1].end == offsets[-1] + 1
