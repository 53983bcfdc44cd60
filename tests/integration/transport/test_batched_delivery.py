"""What agents of batched topics and of Faust's own topics get."""

import asyncio
import time
from typing import Any

import pytest
from faust.types import TP

from notify_streams.partition_concurrency import process_partitions_concurrently
from notify_streams.transport import (
    BatchEvent,
    RecordBatch,
    TransportSettings,
    batched_consumer,
    batched_topic,
    on_assigned,
    on_partitions_started,
    on_revoked,
    ready,
    start_at,
)
from tests.integration.transport.batch_collector import BatchCollector, without_gaps
from tests.integration.transport.conftest import NewApp, Running
from tests.integration.transport.kafka_topics import (
    a_producer,
    a_topic,
    committed,
    delete_records,
    fill,
    until,
    until_committed,
)


def numbers(count: int, start: int = 0) -> list[bytes]:
    return [b"%d" % n for n in range(start, count)]


async def test_every_record_comes_once_and_in_order_with_key_headers_and_time(
    kafka_bootstrap: str, new_app: NewApp, running: Running
) -> None:
    topic = await a_topic(kafka_bootstrap, 2)
    # An hour ago: what is older than the broker's retention is deleted, perhaps before it is read.
    first_ms = int(time.time() * 1000) - 3_600_000
    async with a_producer(kafka_bootstrap) as producer:
        for n in range(500):
            await producer.send(
                topic, b"%d" % n, key=b"k%d" % n, partition=n % 2, headers=[("h", b"%d" % n)], timestamp_ms=first_ms + n
            )
        await producer.flush()
    app = new_app()
    collected = BatchCollector(app, topic)
    async with running(app):
        await until(lambda: collected.count == 500)
    for partition in (0, 1):
        wanted = range(partition, 500, 2)
        records = [record for batch in collected.of(partition) for record in batch.records]
        assert [record.value for record in records] == [b"%d" % n for n in wanted]
        assert [record.key for record in records] == [b"k%d" % n for n in wanted]
        assert [list(record.headers) for record in records] == [[("h", b"%d" % n)] for n in wanted]
        assert [record.timestamp for record in records] == [first_ms + n for n in wanted]
        assert collected.of(partition)[0].start == 0
        assert without_gaps(collected.of(partition))


async def test_a_busy_agent_gets_larger_batches_within_the_bounds(
    kafka_bootstrap: str, new_app: NewApp, running: Running
) -> None:
    topic = await a_topic(kafka_bootstrap, 1)
    app = new_app(settings=TransportSettings(max_batch_records=100, max_partition_fetch_bytes=2000, compression=None))
    batches: list[RecordBatch] = []
    go_on = asyncio.Event()

    @app.agent(batched_topic(app, topic))
    async def slow(stream: Any) -> None:
        async for event in stream.noack().events():
            batches.append(event.value)
            await go_on.wait()
            event.ack()

    async with running(app):
        await fill(kafka_bootstrap, topic, 0, [b"first"])
        await until(lambda: batches)
        await fill(kafka_bootstrap, topic, 0, [b"x" * 20] * 1000)
        (buffer,) = batched_consumer(app).buffers().values()
        await until(lambda: buffer.full)
        assert buffer.record_count < 900, "back-pressure pauses the partition"
        go_on.set()
        await until(lambda: sum(len(batch) for batch in batches) == 1001)
    assert max(len(batch) for batch in batches) == 100
    assert len(batches[1]) == 100, "what was fetched meanwhile is one batch"


async def test_an_agent_that_works_on_many_batches_at_once_gets_no_more_than_the_limit(
    kafka_bootstrap: str, new_app: NewApp, running: Running
) -> None:
    topic = await a_topic(kafka_bootstrap, 1)
    app = new_app(settings=TransportSettings(max_batch_records=100))
    await fill(kafka_bootstrap, topic, 0, numbers(1000))
    collected = BatchCollector(app, topic, ack=False)
    async with running(app):
        await until(lambda: collected.count >= 200)
        (buffer,) = batched_consumer(app).buffers().values()
        await until(lambda: buffer.full)
        assert buffer.unacked_limit_reached and collected.count == 200
        while collected.count < 1000:
            in_flight, collected.events = collected.events, []
            for event in in_flight:
                event.ack()
            await until(lambda: collected.events)
    assert collected.values() == numbers(1000)


def together(tp: TP) -> None:
    """All partitions start together."""


async def test_partitions_start_after_the_assigned_hook_and_where_the_other_one_says(
    kafka_bootstrap: str, new_app: NewApp, running: Running
) -> None:
    topic = await a_topic(kafka_bootstrap, 2)
    for partition in (0, 1):
        await fill(kafka_bootstrap, topic, partition, numbers(10))
    app = new_app()
    collected = BatchCollector(app, topic)
    called: list[tuple[str, set[TP]]] = []

    async def assigned(tps: frozenset[TP]) -> None:
        await asyncio.sleep(0.05)
        assert not collected.batches
        called.append(("assigned", {tp for tp in tps if tp.topic == topic}))

    async def ledger(tps: frozenset[TP]) -> dict[TP, int]:
        called.append(("positions", {tp for tp in tps if tp.topic == topic}))
        return {tp: 7 for tp in tps if tp == (topic, 1)}

    on_assigned(app, assigned)
    start_at(app, ledger, together)
    async with running(app):
        await until(lambda: collected.count == 13)
    both = {TP(topic, 0), TP(topic, 1)}
    assert called == [("assigned", both), ("positions", both)]
    assert collected.values(1) == [b"7", b"8", b"9"]


async def test_a_group_whose_positions_cannot_be_read_holds_up_no_other(
    kafka_bootstrap: str, new_app: NewApp, running: Running
) -> None:
    topic = await a_topic(kafka_bootstrap, 2)
    for partition in (0, 1):
        await fill(kafka_bootstrap, topic, partition, numbers(10))
    app = new_app()
    collected = BatchCollector(app, topic)
    answers = refused = 0
    started: list[float | None] = []

    async def ledger(tps: frozenset[TP]) -> dict[TP, int]:
        nonlocal refused
        if TP(topic, 0) in tps and not answers:
            refused += 1
            raise TimeoutError("shard 0 does not answer")
        return {tp: 7 for tp in tps if tp.topic == topic}

    start_at(app, ledger, lambda tp: tp.partition)
    on_partitions_started(app, started.append)
    with pytest.raises(ValueError, match="has one already"):
        start_at(app, ledger, together)
    async with running(app):
        await until(lambda: collected.values(1) == numbers(10, start=7))
        await fill(kafka_bootstrap, topic, 1, numbers(12, start=10))
        await until(lambda: collected.values(1) == numbers(12, start=7) and refused > 1)
        assert (collected.values(0), ready(app), started) == ([], False, [])
        answers = 1
        await until(lambda: collected.values(0) == numbers(10, start=7))
        await until(lambda: ready(app))
        assert len(started) == 1


async def test_a_revocation_ends_the_wait_of_a_group(kafka_bootstrap: str, new_app: NewApp, running: Running) -> None:
    topic = await a_topic(kafka_bootstrap, 1)
    await fill(kafka_bootstrap, topic, 0, numbers(10))
    app = new_app()
    collected = BatchCollector(app, topic)
    asked: list[asyncio.Event] = []

    async def ledger(tps: frozenset[TP]) -> dict[TP, int]:
        asked.append(asyncio.Event())
        try:
            await asyncio.Event().wait()
        finally:
            asked[-1].set()
        return {}

    start_at(app, ledger, together)
    async with running(app):
        await until(lambda: len(asked) == 1)
        await batched_consumer(app).on_partitions_revoked({TP(topic, 0)})
        await asyncio.wait_for(asked[0].wait(), 5)
        assert collected.count == 0


async def test_the_revoked_hook_gets_the_partitions_after_their_commit(
    kafka_bootstrap: str, new_app: NewApp, running: Running
) -> None:
    topic = await a_topic(kafka_bootstrap, 1)
    await fill(kafka_bootstrap, topic, 0, numbers(10))
    app = new_app()
    collected = BatchCollector(app, topic)
    revoked: list[frozenset[TP]] = []
    on_revoked(app, revoked.append)
    async with running(app):
        await until(lambda: collected.count == 10)
        await batched_consumer(app).on_partitions_revoked({TP(topic, 0)})
        assert revoked[-1] == {TP(topic, 0)}
        assert await committed(kafka_bootstrap, app.conf.id, topic) == 10


async def test_a_refused_batch_is_delivered_again_from_the_given_position(
    kafka_bootstrap: str, new_app: NewApp, running: Running
) -> None:
    topic = await a_topic(kafka_bootstrap, 1)
    await fill(kafka_bootstrap, topic, 0, numbers(20))
    app = new_app()
    events: list[BatchEvent] = []

    @app.agent(batched_topic(app, topic))
    async def refuse_once(stream: Any) -> None:
        async for event in stream.noack().events():
            events.append(event)
            if len(events) == 1:
                assert event.current() and event.refuse(5)
                assert not event.current()
                assert not event.refuse(0), "a batch that is not current discards nothing"
            elif len(event.value):
                event.ack()

    def values() -> list[bytes | None]:
        return [record.value for event in events for record in event.value.records]

    async with running(app):
        await until(lambda: len(values()) == 20 + 15)
        await until_committed(kafka_bootstrap, app.conf.id, topic, 20)
        events[0].ack()
    assert values()[20:] == numbers(20, start=5)


async def test_topics_of_faust_beside_batched_ones_are_delivered_as_single_events(
    kafka_bootstrap: str, new_app: NewApp, running: Running
) -> None:
    batched, unbatched = await a_topic(kafka_bootstrap, 2), await a_topic(kafka_bootstrap, 2)
    for topic in (batched, unbatched):
        for partition in (0, 1):
            await fill(kafka_bootstrap, topic, partition, numbers(50))
    app = new_app()
    collected = BatchCollector(app, batched)
    singles: list[bytes] = []

    @app.agent(app.topic(unbatched, value_serializer="raw"))
    async def one_by_one(stream: Any) -> None:
        async for value in stream:
            singles.append(value)  # noqa: PERF401 - the agent under test

    async with running(app):
        await until(lambda: len(singles) == collected.count == 100)
        for topic in (batched, unbatched):
            await until_committed(kafka_bootstrap, app.conf.id, topic, 50, 1)
    assert sorted(singles) == sorted(numbers(50) * 2)


async def test_a_restart_continues_after_the_acknowledged_prefix(
    kafka_bootstrap: str, new_app: NewApp, running: Running
) -> None:
    topic = await a_topic(kafka_bootstrap, 1)
    app = new_app()
    collected = BatchCollector(app, topic, ack=False)
    async with running(app):
        for count in range(1, 4):
            await fill(kafka_bootstrap, topic, 0, [b"%d" % count])
            await until(lambda: len(collected.events) == count)  # noqa: B023 - awaited in the same iteration
        collected.events[0].ack()
        collected.events[2].ack()
    assert await committed(kafka_bootstrap, app.conf.id, topic) == 1
    again = new_app(id=app.conf.id)
    collected = BatchCollector(again, topic)
    async with running(again):
        await until(lambda: collected.count == 2)
    assert collected.values() == [b"2", b"3"]


async def test_neither_an_exception_nor_a_cancellation_acknowledges(
    kafka_bootstrap: str, new_app: NewApp, running: Running
) -> None:
    topic = await a_topic(kafka_bootstrap, 1)
    await fill(kafka_bootstrap, topic, 0, [b"x"])
    app = new_app()
    batches: list[RecordBatch] = []

    @app.agent(batched_topic(app, topic))
    async def fails(stream: Any) -> None:
        async for event in stream.events():  # Faust's acknowledging iterator, on purpose
            batches.append(event.value)
            raise ValueError("the body failed")

    @app.agent(batched_topic(app, topic))
    async def blocks(stream: Any) -> None:
        async for event in stream.events():
            batches.append(event.value)
            await asyncio.Event().wait()

    async with running(app):
        await until(lambda: len(batches) == 2)
    assert not await committed(kafka_bootstrap, app.conf.id, topic)


async def test_after_a_body_raised_its_unacknowledged_batches_are_delivered_again(
    kafka_bootstrap: str, new_app: NewApp, running: Running
) -> None:
    topic = await a_topic(kafka_bootstrap, 3)
    for partition in range(3):
        await fill(kafka_bootstrap, topic, partition, numbers(10))
    app = new_app(settings=TransportSettings(failed_body_pause_s=0.1, commit_interval_s=0.1))
    seen = 0
    acked: list[RecordBatch] = []

    @app.agent(batched_topic(app, topic))
    async def fails_once(stream: Any) -> None:
        nonlocal seen
        async for event in stream.noack().events():
            seen += 1
            if seen == 1:
                assert event.value
            elif seen == 3:
                raise ValueError("the body failed")
            else:
                acked.append(event.value)
                event.ack()

    async with running(app):
        await until(lambda: sum(len(batch) for batch in acked) == 30)
        for partition in range(3):
            await until_committed(kafka_bootstrap, app.conf.id, topic, 10, partition)
    for partition in range(3):
        found = [record.value for batch in acked if batch.partition == partition for record in batch.records]
        assert found == numbers(10)


async def test_a_batch_that_failed_is_delivered_again_while_other_partitions_go_on(
    kafka_bootstrap: str, new_app: NewApp, running: Running
) -> None:
    topic = await a_topic(kafka_bootstrap, 2)
    for partition in range(2):
        await fill(kafka_bootstrap, topic, partition, numbers(10))
    app = new_app(settings=TransportSettings(commit_interval_s=0.1))
    acked: list[RecordBatch] = []
    failures = 0

    async def process(event: BatchEvent) -> None:
        nonlocal failures
        if event.value.partition == 0 and failures < 3:
            failures += 1
            raise ValueError("the batch failed")
        acked.append(event.value)
        event.ack()

    @app.agent(batched_topic(app, topic))
    async def agent(stream: Any) -> None:
        await process_partitions_concurrently(stream, process, pause_s=0.3)

    async with running(app):
        await until(lambda: failures == 1 and [batch.partition for batch in acked if batch] == [1])
        await fill(kafka_bootstrap, topic, 0, numbers(15, start=10))
        await fill(kafka_bootstrap, topic, 1, numbers(15, start=10))
        for partition in range(2):
            await until_committed(kafka_bootstrap, app.conf.id, topic, 15, partition)
    for partition in range(2):
        found = [record.value for batch in acked if batch.partition == partition for record in batch.records]
        assert found == numbers(15), "in order, and none twice"


async def test_records_deleted_by_retention_are_skipped(
    kafka_bootstrap: str, new_app: NewApp, running: Running
) -> None:
    topic = await a_topic(kafka_bootstrap, 1)
    await fill(kafka_bootstrap, topic, 0, numbers(10))
    app = new_app()
    collected = BatchCollector(app, topic)

    async def ledger(tps: frozenset[TP]) -> dict[TP, int]:
        return {tp: 2 for tp in tps if tp.topic == topic}

    start_at(app, ledger, together)
    await delete_records(kafka_bootstrap, topic, 0, 6)
    async with running(app):
        await until(lambda: collected.count == 4)
        assert collected.events[0].refuse(3)
        await until(lambda: collected.count == 8)
    assert collected.values() == numbers(10, start=6) * 2


@pytest.mark.parametrize("left", [4, 0])
async def test_positions_deleted_by_retention_are_lost_and_no_holes(
    kafka_bootstrap: str, new_app: NewApp, running: Running, left: int
) -> None:
    topic = await a_topic(kafka_bootstrap, 1)
    await fill(kafka_bootstrap, topic, 0, numbers(10))
    app = new_app()
    collected = BatchCollector(app, topic)

    async def ledger(tps: frozenset[TP]) -> dict[TP, int]:
        return {tp: 2 for tp in tps if tp.topic == topic}

    start_at(app, ledger, together)
    await delete_records(kafka_bootstrap, topic, 0, 10 - left)
    async with running(app):
        await until_committed(kafka_bootstrap, app.conf.id, topic, 10)
    assert without_gaps(collected.batches)
    assert (collected.batches[0].start, collected.batches[-1].end) == (2, 10)
    assert (collected.count, sum(batch.lost for batch in collected.batches)) == (left, 8 - left)
