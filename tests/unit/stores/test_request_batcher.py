"""Requests made during a call share the next one."""

import asyncio
from collections.abc import Sequence

import pytest

from notify_streams.errors import StoreUnavailable
from notify_streams.stores.request_batcher import RequestBatcher
from tests.waiting import until


class Store:
    """Returns its state at the beginning of the call, once `gate` is set."""

    def __init__(self) -> None:
        self.state = "old"
        self.calls: list[list[str]] = []
        self.error: StoreUnavailable | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def call(self, requests: Sequence[str]) -> list[str]:
        self.calls.append(list(requests))
        state = self.state
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return [f"{request} {state}" for request in requests]


async def call_during_a_call(
    store: Store, *requests: str, weight: int = 1, max_weight: int = 10
) -> tuple[asyncio.Task[str], list[asyncio.Task[str]]]:
    """The first call is in progress when the other requests are made."""
    batcher = RequestBatcher(store.call, max_weight)
    store.gate.clear()
    first = asyncio.create_task(batcher.call("first", 1))
    await until(lambda: store.calls)
    later = [asyncio.create_task(batcher.call(request, weight)) for request in requests]
    await asyncio.sleep(0)  # lets them start
    store.gate.set()
    return first, later


async def test_requests_made_during_a_call_share_the_next_one() -> None:
    store = Store()
    first, later = await call_during_a_call(store, "a", "b")
    store.state = "new"
    assert await first == "first old"
    assert [await one for one in later] == ["a new", "b new"]
    assert store.calls == [["first"], ["a", "b"]]


async def test_a_call_has_at_most_the_maximum_weight_but_at_least_one_request() -> None:
    store = Store()
    _, later = await call_during_a_call(store, "a", "b", "c", weight=2, max_weight=5)
    assert [await one for one in later] == ["a old", "b old", "c old"]
    assert store.calls == [["first"], ["a", "b"], ["c"]]
    assert await RequestBatcher(store.call, max_weight=5).call("heavy", 9) == "heavy old"


async def test_an_error_is_raised_to_every_caller_of_its_call_and_to_no_other() -> None:
    store = Store()
    batcher = RequestBatcher(store.call)
    store.error = StoreUnavailable("gone")
    failing = [asyncio.create_task(batcher.call(request, 1)) for request in "ab"]
    for one in failing:
        with pytest.raises(StoreUnavailable, match="gone"):
            await one
    store.error = None
    assert await batcher.call("c", 1) == "c old"


async def test_a_time_out_of_one_caller_does_not_affect_the_others() -> None:
    store = Store()
    store.gate.clear()
    batcher = RequestBatcher(store.call)
    patient = asyncio.create_task(batcher.call("a", 1))
    with pytest.raises(StoreUnavailable, match=r"0\.001 s"):
        await batcher.call("b", 1, 0.001)
    store.gate.set()
    assert await patient == "a old"


async def test_a_cancelled_request_is_not_sent() -> None:
    store = Store()
    first, (cancelled, other) = await call_during_a_call(store, "cancelled", "other")
    cancelled.cancel()
    assert (await first, await other) == ("first old", "other old")
    assert store.calls == [["first"], ["other"]]
