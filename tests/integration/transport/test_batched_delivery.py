"""What an agent of a batched topic gets, and what Faust's own topics beside it get."""

import asyncio

from notify_streams.transport import (
    RecordBatch,
    TransportSettings,
    batched_consumer,
    batched_topic,
    on_assigned,
    on_revoked,
)
from tests.integration.transport.kafka_topics import (
    a_producer,
    a_topic,
    committed,
    delete_records,
    fill,
    until,
    until_committed,
)


def collecting(app, topic: str, batches: list[RecordBatch], ack: bool = True, events=None):
    @app.agent(batched_topic(app, topic))
    async def collect(stream):
        async for event in stream.noack().events():
            batches.append(event.value)
            if events is not None:
                events.append(event)
            if ack:
                event.ack()

    return collect


def values(batches: list[RecordBatch], partition: int = 0) -> list[bytes]:
    return [record.value for batch in batches if batch.partition == partition for record in batch.records]


async def test_every_record_comes_once_and_in_order_with_key_headers_and_time(
    kafka_bootstrap, new_app, running
) -> None:
    topic = await a_topic(kafka_bootstrap, 2)
    async with a_producer(kafka_bootstrap) as producer:
        for n in range(500):
            await producer.send(
                topic, b"%d" % n, key=b"k%d" % n, partition=n % 2, headers=[("h", b"%d" % n)], timestamp_ms=1000 + n
            )
        await producer.flush()
    app, batches = new_app(), []
    collecting(app, topic, batches)
    async with running(app):
        await until(lambda: sum(map(len, batches)) == 500)
    for partition in (0, 1):
        wanted = range(partition, 500, 2)
        mine = [record for batch in batches if batch.partition == partition for record in batch.records]
        assert [record.value for record in mine] == [b"%d" % n for n in wanted]
        assert [record.key for record in mine] == [b"k%d" % n for n in wanted]
        assert [list(record.headers) for record in mine] == [[("h", b"%d" % n)] for n in wanted]
        assert [record.timestamp for record in mine] == [1000 + n for n in wanted]
        chain = [batch for batch in batches if batch.partition == partition]
        assert [batch.start for batch in chain] == [0, *(batch.end for batch in chain[:-1])]


async def test_a_busy_agent_gets_larger_batches_and_never_more_than_the_bounds(
    kafka_bootstrap, new_app, running
) -> None:
    topic = await a_topic(kafka_bootstrap, 1)
    app = new_app(settings=TransportSettings(max_batch_records=100, max_partition_fetch_bytes=2000, compression=None))
    batches, go_on, waiting = [], asyncio.Event(), []

    @app.agent(batched_topic(app, topic))
    async def slow(stream):
        async for event in stream.noack().events():
            batches.append(event.value)
            await go_on.wait()
            event.ack()

    async with running(app):
        await fill(kafka_bootstrap, topic, 0, [b"first"])
        await until(lambda: batches)
        await fill(kafka_bootstrap, topic, 0, [b"x" * 20] * 1000)
        buffer = next(iter(batched_consumer(app).buffers().values()))
        await until(lambda: buffer.full)
        waiting.append(buffer._waiting_records)
        go_on.set()
        await until(lambda: sum(map(len, batches)) == 1001)
    assert waiting[0] < 900, "back-pressure pauses the partition"
    assert max(map(len, batches)) == 100
    assert batches[1].records and len(batches[1]) == 100, "what was fetched meanwhile came at once"


async def test_an_agent_that_works_on_many_batches_at_once_does_not_take_in_all_that_there_is(
    kafka_bootstrap, new_app, running
) -> None:
    topic = await a_topic(kafka_bootstrap, 1)
    app = new_app(settings=TransportSettings(max_batch_records=100))
    await fill(kafka_bootstrap, topic, 0, [b"%d" % n for n in range(1000)])
    batches, events = [], []
    collecting(app, topic, batches, ack=False, events=events)
    async with running(app):
        await until(lambda: sum(map(len, batches)) >= 200)
        (buffer,) = batched_consumer(app).buffers().values()
        await until(lambda: buffer.full)
        assert buffer.busy and sum(map(len, batches)) == 200
        while sum(map(len, batches)) < 1000:
            in_hand, events[:] = list(events), []
            for event in in_hand:
                event.ack()
            await until(lambda: events)
    assert values(batches) == [b"%d" % n for n in range(1000)]


async def test_the_assigned_hook_runs_before_delivery_and_says_where_to_start(
    kafka_bootstrap, new_app, running
) -> None:
    topic = await a_topic(kafka_bootstrap, 2)
    for partition in (0, 1):
        await fill(kafka_bootstrap, topic, partition, [b"%d" % n for n in range(10)])
    app, batches, seen = new_app(), [], []
    collecting(app, topic, batches)

    async def ledger(tps):
        await asyncio.sleep(0.05)
        assert not batches
        seen.append({tp for tp in tps if tp.topic == topic})
        return {tp: 7 for tp in tps if tp == (topic, 1)}

    gone = []
    on_assigned(app, ledger)
    on_revoked(app, gone.append)
    async with running(app):
        await until(lambda: sum(map(len, batches)) == 13)
    assert seen == [{(topic, 0), (topic, 1)}]
    assert values(batches, 1) == [b"7", b"8", b"9"]


async def test_a_refused_batch_comes_again_from_the_position_asked_for(kafka_bootstrap, new_app, running) -> None:
    topic = await a_topic(kafka_bootstrap, 1)
    await fill(kafka_bootstrap, topic, 0, [b"%d" % n for n in range(20)])
    app, batches, held = new_app(), [], []

    @app.agent(batched_topic(app, topic))
    async def refuse_once(stream):
        async for event in stream.noack().events():
            batches.append(event.value)
            if len(batches) == 1:
                held.append(event)
                assert event.current() and event.refuse(5)
                assert not event.current()
                assert not event.refuse(0), "a batch that was overtaken throws nothing away"
            elif len(event.value):
                event.ack()

    async with running(app):
        await until(lambda: len(values(batches)) == 20 + 15)
        await until_committed(kafka_bootstrap, app.conf.id, topic, 20)
        held[0].ack()
    assert values(batches)[20:] == [b"%d" % n for n in range(5, 20)]


async def test_faust_topics_beside_batched_ones_stay_as_they_are(kafka_bootstrap, new_app, running) -> None:
    batched, stock = await a_topic(kafka_bootstrap, 2), await a_topic(kafka_bootstrap, 2)
    for topic in (batched, stock):
        for partition in (0, 1):
            await fill(kafka_bootstrap, topic, partition, [b"%d" % n for n in range(50)])
    app, batches, singles = new_app(), [], []
    collecting(app, batched, batches)

    @app.agent(app.topic(stock, value_serializer="raw"))
    async def one_by_one(stream):
        async for value in stream:
            singles.append(value)  # noqa: PERF401 - the agent under test

    async with running(app):
        await until(lambda: len(singles) == 100 and sum(map(len, batches)) == 100)
        for topic in (batched, stock):
            await until_committed(kafka_bootstrap, app.conf.id, topic, 50, 1)
    assert sorted(singles) == sorted([b"%d" % n for n in range(50)] * 2)


async def test_a_restart_goes_on_after_the_acknowledged_prefix(kafka_bootstrap, new_app, running) -> None:
    topic = await a_topic(kafka_bootstrap, 1)
    app, events = new_app(), []

    @app.agent(batched_topic(app, topic))
    async def keep(stream):
        async for event in stream.noack().events():
            events.append(event)  # noqa: PERF401 - the agent under test

    async with running(app):
        for n in range(3):
            await fill(kafka_bootstrap, topic, 0, [b"%d" % n])
            await until(lambda n=n: len(events) == n + 1)
        events[0].ack()
        events[2].ack()
    assert await committed(kafka_bootstrap, app.conf.id, topic) == 1
    again, batches = new_app(id=app.conf.id), []
    collecting(again, topic, batches)
    async with running(again):
        await until(lambda: len(values(batches)) == 2)
    assert values(batches) == [b"1", b"2"]


async def test_neither_an_exception_nor_a_cancellation_acknowledges(kafka_bootstrap, new_app, running) -> None:
    topic = await a_topic(kafka_bootstrap, 1)
    await fill(kafka_bootstrap, topic, 0, [b"x"])
    app, seen = new_app(), []

    @app.agent(batched_topic(app, topic))
    async def fail(stream):
        async for event in stream.events():  # Faust's acknowledging iterator, on purpose
            seen.append(event.value)
            raise ValueError("the body failed")

    @app.agent(batched_topic(app, topic))
    async def hang(stream):
        async for event in stream.events():
            seen.append(event.value)
            await asyncio.Event().wait()

    async with running(app):
        await until(lambda: len(seen) == 2)
    assert not await committed(kafka_bootstrap, app.conf.id, topic)


async def test_a_body_that_raised_gets_again_what_it_had_not_acknowledged(kafka_bootstrap, new_app, running) -> None:
    topic = await a_topic(kafka_bootstrap, 3)
    for partition in range(3):
        await fill(kafka_bootstrap, topic, partition, [b"%d" % n for n in range(10)])
    app, batches, held = new_app(settings=TransportSettings(failed_body_pause_s=0.1, commit_interval_s=0.1)), [], []

    @app.agent(batched_topic(app, topic))
    async def fails_once(stream):
        async for event in stream.noack().events():
            if len(held) < 3:
                held.append(
                    event
                )  # of one it takes the value, of the second it acknowledges it, the third it never opens
                if len(held) == 1:
                    assert event.value
                if len(held) == 2:
                    batches.append(event.value)
                    event.ack()
                if len(held) == 3:
                    raise ValueError("the body failed")
                continue
            batches.append(event.value)
            event.ack()

    async with running(app):
        await until(lambda: sum(map(len, batches)) == 30)
        for partition in range(3):
            await until_committed(kafka_bootstrap, app.conf.id, topic, 10, partition)
    assert [values(batches, partition) for partition in range(3)] == [[b"%d" % n for n in range(10)]] * 3


async def test_records_deleted_by_retention_are_passed_and_not_waited_for(kafka_bootstrap, new_app, running) -> None:
    topic = await a_topic(kafka_bootstrap, 1)
    await fill(kafka_bootstrap, topic, 0, [b"%d" % n for n in range(10)])
    app, batches, events = new_app(), [], []
    collecting(app, topic, batches, events=events)

    async def ledger(tps):
        return {tp: 2 for tp in tps if tp.topic == topic}

    on_assigned(app, ledger)
    await delete_records(kafka_bootstrap, topic, 0, 6)
    async with running(app):
        await until(lambda: len(values(batches)) == 4)
        assert events[0].refuse(3)
        await until(lambda: len(values(batches)) == 8)
    assert values(batches) == [b"6", b"7", b"8", b"9"] * 2
