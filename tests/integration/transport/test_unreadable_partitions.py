"""A partition that Kafka cannot give for a while stops no other one, and goes on where it was."""

from pathlib import Path
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError

from devtools.stack.kafka import private_broker
from notify_streams.transport import batched_consumer, batched_topic
from tests.integration.transport.batch_collector import BatchCollector
from tests.integration.transport.conftest import NewApp, Running
from tests.integration.transport.kafka_topics import a_topic, delete_records, fill, until


def flip_a_bit(log: Path) -> None:
    """In the last record of a partition, where the broker reads it: in the page cache."""
    with log.open("r+b") as file:
        file.seek(-3, 2)
        byte = file.read(1)[0]
        file.seek(-3, 2)
        file.write(bytes([byte ^ 1]))


async def test_a_damaged_batch_stops_its_partition_only(
    new_app: NewApp, running: Running, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with private_broker(tmp_path / "kafka") as broker:
        topic = await a_topic(broker.address, 2)
        await fill(broker.address, topic, 0, [b"damaged"])
        log = tmp_path / "kafka" / "data" / f"{topic}-0" / f"{0:020}.log"
        flip_a_bit(log)
        app = new_app(bootstrap=broker.address)
        collected = BatchCollector(app, topic)
        async with running(app):
            await until(lambda: any(getattr(one, "action", "") == "partition.unreadable" for one in caplog.records))
            await fill(broker.address, topic, 1, [b"whole"])
            await until(lambda: collected.values(1) == [b"whole"])
            assert [tp.partition for tp in batched_consumer(app).held_up] == [0]
            flip_a_bit(log)
            await until(lambda: collected.values(0) == [b"damaged"])
            assert not batched_consumer(app).held_up


async def test_a_gap_is_closed_when_kafka_answers_again(
    kafka_bootstrap: str, new_app: NewApp, running: Running
) -> None:
    topic = await a_topic(kafka_bootstrap, 1)
    await fill(kafka_bootstrap, topic, 0, [b"0", b"1", b"2", b"3"])
    app = new_app()
    lost: list[int] = []
    starts: list[int] = []

    @app.agent(batched_topic(app, topic))
    async def read(stream: Any) -> None:
        async for event in stream.noack().events():
            starts.append(event.value.start)
            lost.append(event.value.lost)
            if len(starts) == 1:
                await delete_records(kafka_bootstrap, topic, 0, 3)
                event.refuse(0)  # what it has read is deleted meanwhile
            else:
                event.ack()

    thread: Any = batched_consumer(app)._thread
    beginning, failures = thread.beginning, [KafkaConnectionError(), KafkaConnectionError()]

    async def unanswered(tp: object) -> Any:
        if failures:
            raise failures.pop()
        return await beginning(tp)

    thread.beginning = unanswered
    async with running(app):
        await until(lambda: sum(lost) == 3)
    assert not failures
