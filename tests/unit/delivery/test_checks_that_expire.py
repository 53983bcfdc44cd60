"""A call compares its check just before it is made: many that begin together take time, and a process may be stopped (R11)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import pytest

from notify_streams.delivery.breaker import BreakerState
from notify_streams.delivery.budget import Budget
from notify_streams.delivery.device_results import remaining
from notify_streams.delivery.partition import Delivery, Partition
from notify_streams.delivery.provider_order import CalledProvider
from notify_streams.delivery.providers import Outgoing, ProviderOutcome, ProviderResult
from notify_streams.delivery.suspensions import Suspensions
from notify_streams.failpoints import armed
from notify_streams.records.devices import Device
from tests.builders import AClient, a_message
from tests.unit.delivery.test_calls import CheckedAgain, Handler, a_delivery, calls_to
from tests.unit.delivery.test_failover import Channel
from tests.unit.delivery.test_failover import a_delivery as an_sms
from tests.waiting import until

PHONE, TABLET = Device("phone"), Device("tablet")


class Busy(AClient):
    """While it makes its first call, the checks of all deliveries become too old."""

    def __init__(self) -> None:
        super().__init__()
        self.deliveries: list[Delivery] = []

    async def send(self, message: Outgoing) -> ProviderResult:
        if not self.calls:
            for delivery in self.deliveries:
                delivery.check_until = 0.0
        return await super().send(message)

    def called(self) -> list[str]:
        return [one.to for one in self.calls]


class WaitsForChecks(Handler):
    """Keeps what has to be checked again."""

    def __init__(self) -> None:
        super().__init__()
        self.again: list[Delivery] = []

    def check_again(self, partition: Partition, deliveries: Sequence[Delivery]) -> None:
        self.again += deliveries


async def test_calls_whose_check_became_too_old_are_checked_again_and_made_once() -> None:
    handler, client, budget = WaitsForChecks(), Busy(), Budget(1.0, 0.0)
    provider = CalledProvider(client, budget)
    provider.reserved = 4
    calls = calls_to(provider, handler)
    client.deliveries = [a_delivery(a_message(to=f"to-{number}")) for number in range(4)]
    calls.add(client.deliveries)
    await until(lambda: len(handler.again) == 3)
    assert client.called() == ["to-0"] and provider.reserved == 3
    for delivery in handler.again:
        delivery.check_until = time.monotonic() + 60
    calls.add(handler.again)
    ends = [await asyncio.wait_for(handler.ended.get(), 5) for _ in range(4)]
    assert {result.outcome for _, result in ends} == {ProviderOutcome.ACCEPTED}
    assert client.called() == [f"to-{number}" for number in range(4)]
    assert (provider.calls, provider.reserved, budget.available(0.0)) == (0, 0, 0.0), "paid once"


async def test_a_process_that_was_stopped_makes_no_call_of_an_old_check_and_blames_no_provider() -> None:
    """However long: a provider that is not ready for 3 s has failed, one that was not called has not."""
    channel = Channel()
    deliveries = [an_sms(check_until=time.monotonic() + 0.2) for _ in range(8)]
    for delivery in deliveries:
        delivery.partition.proved_at += 60
    with armed("before_provider=stall:3.1"):
        channel.calls.add(deliveries)
        await until(lambda: len(channel.ended.again) == 8)
    assert channel.called() == (0, 0) and channel.ended.results == []
    assert [one.provider for one in deliveries] == [None] * 8, "none has refused it, so the first is called"
    assert channel.order.first.breaker.state(time.monotonic()) is BreakerState.CLOSED


async def test_devices_that_were_called_are_not_called_again_with_those_that_were_not() -> None:
    handler, client = Handler(), Busy()
    provider = CalledProvider(client, Budget(None, 0.0))
    calls = calls_to(provider, handler)
    for _ in range(10):
        client.calls.clear()
        message = a_message(to="", devices=(PHONE, TABLET))
        client.deliveries = [a_delivery(message)]
        calls.add(client.deliveries)
        _, result = await asyncio.wait_for(handler.ended.get(), 5)
        assert client.called() == ["phone"]
        assert [one.result.outcome.value for one in result.devices or ()] == ["accepted", "retry"]
        assert (result.outcome, result.maybe_accepted) == (ProviderOutcome.RETRY, False)
        assert remaining((PHONE, TABLET), result.devices or ()) == (TABLET,)
    assert provider.breaker.state(time.monotonic()) is BreakerState.CLOSED, "it was not asked"


async def test_devices_of_which_none_was_called_are_checked_again_together() -> None:
    handler, client = CheckedAgain(), Busy()
    calls = handler.calls = calls_to(client, handler)
    to_devices = a_delivery(a_message(to="", devices=(PHONE, TABLET)))
    client.deliveries = [to_devices]
    calls.add([a_delivery(a_message(to="first")), to_devices])
    for _ in range(2):
        _, result = await asyncio.wait_for(handler.ended.get(), 5)
        assert result.outcome is ProviderOutcome.ACCEPTED
    assert client.called() == ["first", "phone", "tablet"] and handler.checks >= 1


@pytest.mark.parametrize("what", ["revoked", "unproved"])
async def test_a_partition_that_is_lost_before_the_call_is_left(what: str) -> None:
    channel = Channel()
    delivery = an_sms()
    channel.calls.add([delivery])
    if what == "revoked":
        delivery.partition.active = False
    else:
        delivery.partition.proved_at = 0.0
    await asyncio.sleep(0.01)
    assert channel.called() == (0, 0) and channel.ended.results == []
    assert (channel.ended.again == [delivery]) is (what == "unproved")


class Machine:
    """Its clocks. While it is suspended, only the wall clock goes on."""

    def __init__(self) -> None:
        self.passed_s = self.suspended_s = 0.0

    def suspensions(self) -> Suspensions:
        return Suspensions(lambda: 1_800_000_000.0 + self.passed_s + self.suspended_s, lambda: self.passed_s)


@pytest.mark.parametrize("is_suspended", [True, False], ids=["suspended", "not suspended"])
async def test_what_was_checked_before_a_suspension_is_checked_again(is_suspended: bool) -> None:
    """An opt-out meanwhile counts, and another worker may have the partition."""
    machine, handler, client = Machine(), WaitsForChecks(), AClient()
    provider = CalledProvider(client, Budget(None, 0.0))
    calls = calls_to(provider, handler, suspensions=machine.suspensions())
    delivery = a_delivery(a_message())
    machine.passed_s += 60.0
    machine.suspended_s += 3600.0 * is_suspended
    calls.add([delivery])
    await until(lambda: client.calls or handler.again)
    assert (handler.again == [delivery], bool(client.calls)) == (is_suspended, not is_suspended)
    if is_suspended:
        assert delivery.partition.proved_at < 0.0, "the token has to be proved again"
        delivery.check_until, delivery.partition.proved_at = time.monotonic() + 60.0, time.monotonic()
        calls.add([delivery])
        await until(lambda: client.calls)
    await calls.stop()


def test_a_clock_that_is_turned_slowly_or_set_back_is_no_suspension() -> None:
    machine = Machine()
    found = machine.suspensions()
    looks = []
    for step_s in (0.001, 0.19, -3600.0, -0.5, 0.0, 0.21):
        machine.passed_s += 100.0
        machine.suspended_s += step_s
        looks.append(found.since_last_look())
    assert looks == [False] * 5 + [True]
