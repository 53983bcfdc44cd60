"""One result for all who ask within a moment."""

import asyncio

import pytest

from notify_streams.errors import StoreUnavailable
from notify_streams.web.shared_result import SharedResult


async def test_clients_that_ask_at_once_share_one_call_and_its_error() -> None:
    calls = 0

    async def make() -> int:
        nonlocal calls
        calls += 1
        await asyncio.sleep(0)
        if calls == 1:
            raise StoreUnavailable("down")
        return calls

    shared = SharedResult(make)
    first = await asyncio.gather(*(shared.get() for _ in range(30)), return_exceptions=True)
    assert [type(one) for one in first] == [StoreUnavailable] * 30 and calls == 1
    with pytest.raises(StoreUnavailable):
        await shared.get()


async def test_a_client_that_leaves_does_not_end_the_call_for_the_others() -> None:
    go_on = asyncio.Event()

    async def make() -> str:
        await go_on.wait()
        return "made"

    shared = SharedResult(make)
    leaves, stays = asyncio.create_task(shared.get()), asyncio.create_task(shared.get())
    await asyncio.sleep(0)
    leaves.cancel()
    await asyncio.wait([leaves])
    go_on.set()
    assert await stays == "made"
