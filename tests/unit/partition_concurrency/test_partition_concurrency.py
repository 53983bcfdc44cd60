"""Partitions are processed concurrently, each in order; an error delays its partition alone, a cancellation ends all."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from itertools import zip_longest
from types import SimpleNamespace
from typing import Any, Self, cast

import pytest
from faust.types import StreamT

from notify_streams.partition_concurrency import process_partitions_concurrently
from tests.waiting import until


class FakeStream:
    """The part of a Faust stream that `process_partitions_concurrently` uses."""

    def __init__(self, *partitions: int, buffers: tuple[object, ...] = ()) -> None:
        """`buffers`: of each event's assignment; by default all are of one."""
        #: Numbers of the events that are wanted again.
        self.redelivered: list[int] = []
        self._events = [
            SimpleNamespace(
                message=SimpleNamespace(topic="triggers.payments", partition=partition, buffer=buffer),
                number=number,
                redeliver=partial(self.redelivered.append, number),
            )
            for number, (partition, buffer) in enumerate(zip_longest(partitions, buffers))
        ]

    def noack(self) -> Self:
        return self

    async def events(self) -> AsyncIterator[Any]:
        for event in self._events:
            yield event
        await asyncio.Event().wait()


def a_stream(*partitions: int) -> StreamT[Any]:
    return cast("StreamT[Any]", FakeStream(*partitions))


async def test_a_partition_that_waits_delays_no_other_and_keeps_its_order() -> None:
    gate = asyncio.Event()
    done: list[int] = []

    async def work(event: Any) -> None:
        if event.message.partition == 0:
            await gate.wait()
        done.append(event.number)

    loop = asyncio.create_task(process_partitions_concurrently(a_stream(0, 1, 0, 1), work))
    async with asyncio.timeout(5):
        while done != [1, 3]:
            await asyncio.sleep(0)
        gate.set()
        while done != [1, 3, 0, 2]:
            await asyncio.sleep(0)
    loop.cancel()
    with pytest.raises(asyncio.CancelledError):
        await loop


async def test_a_batch_that_raises_is_delivered_again_and_delays_no_other_partition(
    caplog: pytest.LogCaptureFixture,
) -> None:
    done: list[int] = []

    async def work(event: Any) -> None:
        if event.message.partition == 0:
            raise ValueError("broken")
        await asyncio.sleep(0)
        done.append(event.number)

    stream = FakeStream(0, 1, 0, 1)
    loop = asyncio.create_task(process_partitions_concurrently(cast("StreamT[Any]", stream), work, pause_s=0.05))
    await until(lambda: stream.redelivered and done == [1, 3])
    assert stream.redelivered == [0], "the later event of the partition comes again by itself"
    loop.cancel()
    with pytest.raises(asyncio.CancelledError):
        await loop
    (line,) = [vars(record) for record in caplog.records]
    assert (line["action"], line["topic"], line["partition"]) == ("batch.redeliver", "triggers.payments", 0)


async def test_a_lost_cancellation_is_repeated() -> None:
    lost, started = [], asyncio.Event()

    async def work(event: Any) -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            lost.append(True)
            if len(lost) > 1:
                raise
            await asyncio.Event().wait()

    loop = asyncio.create_task(process_partitions_concurrently(a_stream(0), work))
    await started.wait()
    loop.cancel()
    async with asyncio.timeout(5):
        with pytest.raises(asyncio.CancelledError):
            await loop
    assert lost == [True]


async def test_a_failed_batch_drops_no_batch_of_a_later_assignment() -> None:
    """The partition was assigned to this worker again while the batch was processed."""
    old, new = object(), object()
    stream = FakeStream(0, 0, 0, buffers=(old, old, new))
    done: list[int] = []

    async def work(event: Any) -> None:
        if event.number == 0:
            raise ValueError
        done.append(event.number)

    loop = asyncio.create_task(process_partitions_concurrently(cast("StreamT[Any]", stream), work, pause_s=0.01))
    await until(lambda: done == [2])
    assert stream.redelivered == [0]
    loop.cancel()
