"""A call that fails or is cancelled leaves no client behind: the next one starts its own."""

import asyncio
from typing import Any

import pytest
from aiokafka import ConsumerRecord, TopicPartition

from notify_streams import kafka
from notify_streams.kafka import KafkaConnection
from notify_streams.web.kafka_reader import KafkaReader

WANTED = TopicPartition("a", 0)


class AConsumer:
    """Its start may not end, as with a broker that was stopped."""

    def __init__(self, *, hangs: bool = False, error: Exception | None = None) -> None:
        self.hangs = hangs
        self.error = error
        self.starts = asyncio.Event()
        self.is_stopped = False

    async def start(self) -> None:
        self.starts.set()
        if self.hangs:
            await asyncio.Event().wait()

    async def stop(self) -> None:
        self.is_stopped = True

    async def beginning_offsets(self, partitions: Any) -> Any:
        assert not self.hangs, "it was never started"
        if self.error is not None:
            raise self.error
        return dict.fromkeys(partitions, 1)

    end_offsets = beginning_offsets


def reader_of(monkeypatch: pytest.MonkeyPatch, *consumers: AConsumer) -> KafkaReader:
    left = list(consumers)
    monkeypatch.setattr(kafka, "consumer", lambda *_, **__: left.pop(0))
    return KafkaReader(KafkaConnection("localhost:1"))


async def test_a_cancelled_start(monkeypatch: pytest.MonkeyPatch) -> None:
    first = AConsumer(hangs=True)
    reader = reader_of(monkeypatch, first, AConsumer())
    call = asyncio.create_task(reader.extents([WANTED]))
    await first.starts.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert first.is_stopped
    assert await reader.extents([WANTED]) == ({WANTED: 1}, {WANTED: 1})


async def test_an_error_that_is_not_of_kafka(monkeypatch: pytest.MonkeyPatch) -> None:
    first = AConsumer(error=AssertionError("a defect of the client"))
    reader = reader_of(monkeypatch, first, AConsumer())
    with pytest.raises(AssertionError):
        await reader.extents([WANTED])
    assert first.is_stopped
    assert await reader.extents([WANTED]) == ({WANTED: 1}, {WANTED: 1})


class Endless(AConsumer):
    """Has records without a value, whose headers have all the bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.next = 0

    def assign(self, partitions: Any) -> None: ...

    def seek(self, partition: TopicPartition, offset: int) -> None: ...

    def pause(self, *partitions: TopicPartition) -> None: ...

    async def position(self, partition: TopicPartition) -> int:
        return self.next

    async def getmany(self, *partitions: TopicPartition, timeout_ms: int) -> Any:
        record: Any = ConsumerRecord(
            "a", 0, self.next, 0, 0, b"key", None, None, 3, 0, (("name", b"x" * 4 * 1024 * 1024),)
        )
        self.next += 1
        return {WANTED: [record]}


async def test_bytes_in_headers_end_a_reading_too(monkeypatch: pytest.MonkeyPatch) -> None:
    records, complete = await reader_of(monkeypatch, Endless()).read({WANTED: (0, 1_000)})
    assert len(records) == 4 and not complete
