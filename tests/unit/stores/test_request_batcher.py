"""Many questions at once cost few calls, and each is answered by a call that began after it was asked."""

import asyncio
from typing import Any

import pytest

from notify_streams.errors import StoreUnavailable
from notify_streams.stores.request_batcher import RequestBatcher


class SlowStore:
    """Answers with its state at the beginning of the call."""

    def __init__(self) -> None:
        self.state = "old"
        self.calls = []
        self.error = None

    async def call(self, asked: Any) -> Any:
        self.calls.append(list(asked))
        seen = self.state
        await asyncio.sleep(0.02)
        if self.error is not None:
            raise self.error
        return [f"{one} {seen}" for one in asked]


async def asked_during_a_call(grouped: Any, *questions: Any, weight: Any = 1) -> Any:
    """The first is under way when the others are asked."""
    first = asyncio.create_task(grouped.ask("first", 1))
    await asyncio.sleep(0.01)
    return first, [asyncio.create_task(grouped.ask(one, weight)) for one in questions]


async def test_what_is_asked_during_a_call_waits_for_the_next() -> None:
    store = SlowStore()
    first, later = await asked_during_a_call(RequestBatcher(store.call), "a", "b")
    store.state = "new"
    assert await first == "first old"
    assert [await one for one in later] == ["a new", "b new"]
    assert store.calls == [["first"], ["a", "b"]]


async def test_a_call_takes_no_more_than_its_weight_and_at_least_one() -> None:
    store = SlowStore()
    _, later = await asked_during_a_call(RequestBatcher(store.call, most=5), "a", "b", "c", weight=2)
    assert [await one for one in later] == ["a old", "b old", "c old"]
    assert store.calls == [["first"], ["a", "b"], ["c"]]
    grouped = RequestBatcher(store.call, most=5)
    assert await grouped.ask("heavy", 9) == "heavy old"


async def test_a_call_that_fails_fails_all_who_waited_for_it_and_no_other() -> None:
    store = SlowStore()
    grouped = RequestBatcher(store.call)
    store.error = StoreUnavailable("gone")
    failing = [asyncio.create_task(grouped.ask(one, 1)) for one in "ab"]
    for one in failing:
        with pytest.raises(StoreUnavailable, match="gone"):
            await one
    store.error = None
    assert await grouped.ask("c", 1) == "c old"


async def test_who_cannot_wait_any_longer_does_not_disturb_the_others() -> None:
    grouped = RequestBatcher(SlowStore().call)
    patient = asyncio.create_task(grouped.ask("a", 1))
    with pytest.raises(StoreUnavailable, match=r"0\.001 s"):
        await grouped.ask("b", 1, 0.001)
    assert await patient == "a old"


async def test_what_nobody_waits_for_any_more_is_not_asked() -> None:
    store = SlowStore()
    first, (given_up, other) = await asked_during_a_call(RequestBatcher(store.call), "given up", "other")
    given_up.cancel()
    assert (await first, await other) == ("first old", "other old")
    assert store.calls == [["first"], ["other"]]
