"""The second provider is called no more often than its budget allows, and the first one is probed all the same (R12, R14)."""

from __future__ import annotations

import asyncio
import heapq
import time
from collections import Counter

import pytest

from notify_streams.delivery.budget import Budget
from notify_streams.delivery.provider_order import CalledProvider, ProviderOrder
from tests.builders import AClient
from tests.unit.delivery.test_failover import Channel, a_delivery

_REFUSED_AGAIN_S = 30.0


def an_order(second_calls_per_s: float) -> ProviderOrder:
    """Two providers at time 0, the budgets of which are full."""
    budgets = Budget(None, -10.0), Budget(second_calls_per_s, -10.0)
    for budget in budgets:
        budget.set_share(1.0, -10.0)
    clients = AClient("one", max_in_flight=256), AClient("two", max_in_flight=256)
    return ProviderOrder([CalledProvider(client, budget) for client, budget in zip(clients, budgets, strict=True)])


def open_first(order: ProviderOrder, now: float) -> None:
    for _ in range(20):
        order.first.breaker.failed(now)


class Run:
    """A worker that takes 50 messages a second, of which the first provider refuses two of five for certain, as with 429."""

    def __init__(self, order: ProviderOrder, due_after_s: float) -> None:
        """`due_after_s`: so long a message that is due at once needs to its next attempt."""
        self.order = order
        self.calls: Counter[str] = Counter()
        #: Calls to the first one before the delay after its refusal.
        self.too_early = 0
        self._due_after_s = due_after_s
        #: When due, number, when it may be called again at the first.
        self._timers: list[tuple[float, int, float]] = []

    def until(self, seconds: float) -> None:
        for number in range(int(seconds * 50)):
            now = number / 50
            self._attempt(number, None, now, now)
            while self._timers and self._timers[0][0] <= now and self.order.available(now) >= 1:
                _, message, not_before = heapq.heappop(self._timers)
                self._attempt(message, "one", not_before, now)

    def _attempt(self, number: int, last: str | None, not_before: float, now: float) -> None:
        self.order.reserve(1, now)
        provider = self.order.choose(last, now, pinned=False)
        assert provider is not None
        self.order.begin(provider, 1)
        self.calls[provider.name] += 1
        self.too_early += provider is self.order.first and now < not_before
        if last is None and number % 5 in (1, 3):
            provider.breaker.failed(now)
            again_at = now + _REFUSED_AGAIN_S
            due = now + self._due_after_s if self.order.promise_next("one", now) else again_at
            heapq.heappush(self._timers, (due, number, again_at))
        else:
            provider.breaker.succeeded(now)
        provider.calls -= 1


@pytest.mark.parametrize("due_after_s", [0.05, 0.3])
def test_messages_that_the_first_refuses_go_to_the_second_as_its_budget_allows(due_after_s: float) -> None:
    run = Run(an_order(10.0), due_after_s)
    run.until(600)
    assert 5900 <= run.calls["two"] <= 6010, "10 a second, and what was saved up before"
    assert run.too_early <= 600, "of 12,000: each call of the second is promised once"
    open_first(run.order, 600.0)
    assert run.order.seconds_until(1, 600.0) <= 0.1, "the channel does not wait for a debt of the second"


def test_a_call_that_is_promised_is_paid_and_waits_for_one_message() -> None:
    order = an_order(10.0)
    _, second = order.providers
    assert [order.promise_next("one", 0.0) for _ in range(4)] == [True, True, False, False], "2.5 calls are saved up"
    assert [order.promise_next("one", 60.0) for _ in range(2)] == [True, False], "those that are not used stay few"
    before = second.budget.available(60.0)
    for _ in range(3):
        order.reserve(1, 60.0)
        assert order.choose("one", 60.0, pinned=False) is second
        order.begin(second, 1)
    assert (second.budget.available(60.0), second.promised, order.first.reserved) == (before, 0, 0)


@pytest.mark.parametrize("wants", [1, 50])
async def test_the_first_is_probed_while_the_budget_of_the_second_is_used_up(wants: int) -> None:
    channel = Channel(calls_per_s=0.001)
    first, second = channel.order.providers
    second.budget.spend(1)
    for _ in range(20):
        first.breaker.failed(time.monotonic() - 5)
    assert await asyncio.wait_for(channel.admission.take(wants), 1) == 1
    assert channel.admission.held, "no more than a probe"
    assert channel.admission.take_retries(1) == 0
    channel.calls.add([a_delivery()])
    await channel.all_ended(1)
    assert channel.called() == (1, 0) and channel.order.first.breaker.open_until is None
    assert (first.reserved, second.reserved) == (0, 0)


async def test_calls_that_the_first_was_to_make_are_made_by_the_second_as_its_budget_allows() -> None:
    channel = Channel(calls_per_s=16.0)
    assert await channel.admission.take(20) == 20
    channel.open_first()
    channel.calls.add([a_delivery() for _ in range(20)])
    await channel.all_ended(4)
    assert channel.called() == (0, 4)
    watching = asyncio.create_task(channel.calls.watch())
    await channel.all_ended(6)
    watching.cancel()
    assert (
        all(one.reserved >= 0 for one in channel.order.providers)
        and channel.budgets[1].available(time.monotonic()) >= 0
    )


async def test_a_message_that_stays_with_the_second_costs_its_budget_and_holds_up_no_other() -> None:
    channel = Channel(calls_per_s=0.001)
    channel.budgets[1].spend(1)
    assert await channel.admission.take(2) == 2
    channel.calls.add([a_delivery(in_doubt=True, provider="two"), a_delivery()])
    await channel.all_ended(2)
    assert channel.called() == (1, 0)
    assert [(one.provider, one.outcome.value, one.begun) for one in channel.ended.results] == [
        ("two", "retry", False),
        ("one", "accepted", True),
    ]
