"""A call to the thread of the consumer ends, however it meets the end of the thread."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import ConsumerStoppedError, KafkaError
from faust.types import TP

from notify_streams import tasks
from notify_streams.transport.fetch_thread import FetchThread, PartitionOffsets
from tests.waiting import until

PLACE = TP("t", 0)


class Thread(FetchThread):
    """Without a consumer: Kafka answers to nothing."""

    asked = 0

    def __post_init__(self) -> None: ...

    async def on_start(self) -> None: ...

    async def on_thread_stop(self) -> None: ...

    async def _partition_offsets_in_thread(self, tps: Any) -> dict[TP, PartitionOffsets]:
        self.asked += 1
        await asyncio.Event().wait()
        return {}


def a_thread() -> Thread:
    consumer: Any = SimpleNamespace(transport=SimpleNamespace(app=SimpleNamespace()))
    return Thread(consumer, loop=asyncio.get_running_loop())


@pytest.fixture(autouse=True)
def no_coroutine_is_left() -> Iterator[None]:
    """Python warns of a coroutine that was never awaited when it is collected."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        yield
        gc.collect()
    assert [str(one.message) for one in found if "never awaited" in str(one.message)] == []


async def test_a_call_after_the_end_is_refused() -> None:
    thread = a_thread()
    await thread.start()
    await thread.stop()
    with pytest.raises(KafkaError, match="has ended"):
        await thread.partition_offsets([PLACE])
    with pytest.raises(ConsumerStoppedError):
        await thread.fetch([PLACE], 1.0, 1)
    thread.wake()
    thread.seek_soon(PLACE, 1)


async def test_calls_under_way_end_with_the_thread() -> None:
    thread = a_thread()
    await thread.start()
    call = asyncio.create_task(thread.partition_offsets([PLACE]))
    await until(lambda: thread.asked == 1)
    await thread.stop()
    await asyncio.wait([call], timeout=10.0)
    assert call.done()


async def test_calls_that_begin_while_the_thread_ends_do_not_wait_for_ever() -> None:
    thread = a_thread()
    await thread.start()
    calls: list[asyncio.Task[Any]] = []

    async def begin() -> None:
        while True:
            calls.append(asyncio.create_task(thread.partition_offsets([PLACE])))
            await asyncio.sleep(0)

    beginning = asyncio.create_task(begin())
    await until(lambda: thread.asked > 3)
    stopping = asyncio.create_task(thread.stop())
    await until(lambda: not thread.thread_loop.is_running())
    await tasks.stop([beginning])
    await stopping
    _, waiting = await asyncio.wait(calls, timeout=10.0)
    assert not waiting
    assert all(one.cancelled() or isinstance(one.exception(), KafkaError) for one in calls)


async def test_a_call_that_is_cancelled_at_once_leaves_nothing() -> None:
    thread = a_thread()
    await thread.start()
    call = asyncio.create_task(thread.partition_offsets([PLACE]))
    await asyncio.sleep(0)
    call.cancel()
    await asyncio.wait([call])
    await thread.stop()
    assert call.cancelled()
