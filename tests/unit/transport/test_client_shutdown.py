"""A consumer of aiokafka is stopped in any state, and the task that stops it goes on."""

from __future__ import annotations

import asyncio

import pytest

from notify_streams.transport.client_shutdown import stop_consumer


class Consumer:
    """As aiokafka 0.14.0: who waits for a connection's end and is cancelled cancels the end itself."""

    def __init__(self, *, raises_cancelled: bool) -> None:
        self._client = self
        self._raises_cancelled = raises_cancelled
        self._end: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.closes = 0

    async def stop(self) -> None:
        if self._raises_cancelled:
            self._end.cancel()
        await self.close()

    async def close(self) -> None:
        self.closes += 1
        await asyncio.gather(self._end)


@pytest.mark.parametrize("raises_cancelled", [True, False], ids=["its stop was cancelled", "its stop does not end"])
async def test_the_task_that_stops_it_goes_on(raises_cancelled: bool) -> None:
    consumer = Consumer(raises_cancelled=raises_cancelled)
    async with asyncio.timeout(10):
        await stop_consumer(consumer, 0.05)
    assert consumer.closes == 2
