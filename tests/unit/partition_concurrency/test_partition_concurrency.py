"""Partitions wait for themselves alone, each in its order; whatever ends the loop ends all of it."""

import asyncio
from types import SimpleNamespace

import pytest

from notify_streams.partition_concurrency import process_partitions_concurrently


class AStream:
    """What `process_partitions_concurrently` asks of a Faust stream."""

    def __init__(self, *partitions: int) -> None:
        self._events = [
            SimpleNamespace(message=SimpleNamespace(partition=partition), number=number)
            for number, partition in enumerate(partitions)
        ]

    def noack(self):
        return self

    async def events(self):
        for event in self._events:
            yield event
        await asyncio.Event().wait()


async def test_a_partition_that_waits_holds_up_no_other_and_keeps_its_order():
    gate, done = asyncio.Event(), []

    async def work(event) -> None:
        if event.message.partition == 0:
            await gate.wait()
        done.append(event.number)

    loop = asyncio.create_task(process_partitions_concurrently(AStream(0, 1, 0, 1), work))
    async with asyncio.timeout(5):
        while done != [1, 3]:
            await asyncio.sleep(0)
        gate.set()
        while done != [1, 3, 0, 2]:
            await asyncio.sleep(0)
    loop.cancel()
    with pytest.raises(asyncio.CancelledError):
        await loop


async def test_what_work_raises_ends_the_loop():
    async def work(event) -> None:
        raise ValueError("broken")

    async with asyncio.timeout(5):
        with pytest.raises(ValueError, match="broken"):
            await process_partitions_concurrently(AStream(0, 1), work)


async def test_a_lost_cancellation_is_repeated_until_it_takes():
    lost, started = [], asyncio.Event()

    async def work(event) -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            lost.append(True)
            if len(lost) > 1:
                raise
            await asyncio.Event().wait()

    loop = asyncio.create_task(process_partitions_concurrently(AStream(0), work))
    await started.wait()
    loop.cancel()
    async with asyncio.timeout(5):
        with pytest.raises(asyncio.CancelledError):
            await loop
    assert lost == [True]
