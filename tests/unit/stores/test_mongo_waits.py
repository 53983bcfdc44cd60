"""A call to MongoDB that is cancelled while its shard does not answer leaves the client usable."""

from __future__ import annotations

import asyncio
from types import ModuleType

import pytest
from pymongo.lock import _async_create_condition, _async_create_lock

from notify_streams.security import MongoSecurity
from notify_streams.stores.mongo import mongo_client
from notify_streams.stores.mongo_waits import WAITING_MODULES
from tests.waiting import until

BY_MODULE = pytest.mark.parametrize("module", WAITING_MODULES, ids=lambda one: one.__name__.rpartition(".")[2])


@pytest.fixture(autouse=True)
async def a_client() -> None:
    """Its creation changes how the driver waits."""
    await mongo_client("mongodb://127.0.0.1:1/", MongoSecurity(), "test", 0.1).close()


@BY_MODULE
@pytest.mark.parametrize("passes", range(5))
async def test_a_call_that_is_cancelled_while_its_wait_times_out_takes_no_lock_with_it(
    module: ModuleType, passes: int
) -> None:
    """After so many passes of the event loop, the call that has the lock ends."""
    lock = _async_create_lock()
    condition = _async_create_condition(lock)

    async def wait() -> None:
        async with lock:
            await module._async_cond_wait(condition, 0.01)

    waiting = asyncio.create_task(wait())
    await until(lambda: "waiters:1" in repr(condition), "it waits to be notified")
    async with lock:
        await until(lambda: "waiters:1" in repr(lock), "the wait has timed out, and needs the lock to end")
        waiting.cancel()
        for _ in range(passes):
            await asyncio.sleep(0)
        assert lock.locked(), "the cancelled call released the lock of this one"
    await asyncio.wait([waiting])
    assert not lock.locked(), "no call is left that would release the lock"


@BY_MODULE
async def test_a_wait_says_whether_it_was_notified(module: ModuleType) -> None:
    condition = _async_create_condition(_async_create_lock())

    async def notify() -> None:
        async with condition:
            condition.notify_all()

    async with condition:
        assert await module._async_cond_wait(condition, 0.01) is False
        notifying = asyncio.create_task(notify())
        assert await module._async_cond_wait(condition, 30.0) is True
        assert condition.locked()
    await notifying
