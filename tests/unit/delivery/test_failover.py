"""Which provider of a channel is called: the next one only when the first has not taken the message for certain (R15)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from devtools.stack.paths import PROJECT
from notify_streams.delivery.admission import Admission
from notify_streams.delivery.breaker import MIN_FAILURES
from notify_streams.delivery.budget import Budget
from notify_streams.delivery.calls import ProviderCalls
from notify_streams.delivery.delivery_ledger import OwnedLedger, Token
from notify_streams.delivery.partition import Delivery, Partition
from notify_streams.delivery.provider_order import CalledProvider, ProviderOrder, configured_order
from notify_streams.delivery.providers import ProviderOutcome, ProviderResult, check_credentials
from notify_streams.errors import SettingsError
from notify_streams.preferences.categories import OnDoubt
from notify_streams.settings import load_settings
from notify_streams.settings_providers import ProviderSettings
from notify_streams.web.health import not_called
from tests.builders import AClient, a_message, categories, templates

FAILED = ProviderResult(outcome=ProviderOutcome.RETRY, provider="one", detail="connection refused", begun=False)
IN_DOUBT = msgspec.structs.replace(FAILED, detail="HTTP 503", maybe_accepted=True, begun=True)


class Ended:
    """Keeps how calls ended, and admits what follows."""

    def __init__(self) -> None:
        self.results: list[ProviderResult] = []
        self.late: list[Delivery] = []
        self.lost: list[tuple[Delivery, Exception]] = []
        self.again: list[Delivery] = []
        self.behind: list[int] = []

    def call_ended(self, delivery: Delivery, result: ProviderResult) -> None:
        self.results.append(result)

    def call_lost(self, delivery: Delivery, error: Exception) -> None:
        self.lost.append((delivery, error))

    def call_is_late(self, delivery: Delivery, waited_s: float) -> None:
        self.late.append(delivery)

    def check_again(self, partition: Partition, deliveries: Sequence[Delivery]) -> None:
        self.again += deliveries

    def shards_behind(self) -> list[int]:
        return self.behind

    def leave(self, delivery: Delivery) -> None: ...


class Paused:
    def __init__(self) -> None:
        self.names: list[str] = []

    async def read(self) -> dict[str, Any]:
        return dict.fromkeys(self.names)


def a_delivery(**but: Any) -> Delivery:
    """An SMS of a partition of its own, checked."""
    ledger = OwnedLedger(partition=3, next_offset=0, claimed_to=0, last_flush="", seen={})
    partition = Partition(ledger, Token(1), 0, time.monotonic())
    message = a_message(channel="sms", to="+15550100200")
    return Delivery(partition, b"key", message, b"", None, **({"check_until": time.monotonic() + 60} | but))


class Channel:
    """The calls of a channel with the providers `one` and `two`."""

    def __init__(
        self,
        *results: ProviderResult,
        on_doubt: OnDoubt = OnDoubt.STAY,
        calls_per_s: float | None = None,
        handler: Ended | None = None,
    ) -> None:
        self.one, self.two = AClient("one", *results), AClient("two")
        self.budgets = [Budget(None, 0.0), Budget(calls_per_s, time.monotonic())]
        self.budgets[1].set_share(1.0, time.monotonic() - 10)
        self.order = ProviderOrder(
            [CalledProvider(client, budget) for client, budget in zip((self.one, self.two), self.budgets, strict=True)]
        )
        self.admission, self.ended, self.pauses = Admission(self.order), handler or Ended(), Paused()
        payments = msgspec.structs.replace(categories()["payments"], on_doubt=on_doubt)
        pauses: Any = self.pauses
        self.calls = ProviderCalls(
            "standard", "sms", self.order, {"payments": payments}, templates(), self.admission, pauses, self.ended
        )

    async def all_ended(self, count: int) -> None:
        async with asyncio.timeout(2):
            while len(self.ended.results) < count:
                await asyncio.sleep(0)

    async def send(self, last: str | None = None, *, in_doubt: bool = False) -> Delivery:
        """Admit one delivery, call, and wait for its end. `last`: the provider of its last call."""
        await asyncio.wait_for(self.admission.take(1), 1)
        delivery = a_delivery(in_doubt=in_doubt, provider=last)
        before = len(self.ended.results)
        self.calls.add([delivery])
        await self.all_ended(before + 1)
        return delivery

    def open_first(self) -> None:
        for _ in range(20):
            self.order.first.breaker.failed(time.monotonic())

    def called(self) -> tuple[int, int]:
        return len(self.one.calls), len(self.two.calls)


async def test_while_the_first_may_be_called_only_it_is() -> None:
    channel = Channel()
    for _ in range(20):
        await channel.send()
    assert channel.called() == (20, 0)


@pytest.mark.parametrize("how", ["breaker", "pause"])
async def test_while_the_first_may_not_be_called_messages_go_to_the_next_and_then_back(how: str) -> None:
    channel = Channel()
    if how == "pause":
        channel.order.first.paused = True
    else:
        channel.open_first()
    assert not channel.admission.held
    for _ in range(3):
        assert (await channel.send()).provider == "two"
    if how == "pause":
        channel.order.first.paused = False
        assert (await channel.send()).provider == "one"


def test_the_first_comes_back_by_probes_and_then_by_more_and_more_calls() -> None:
    order = Channel().order
    first, second = order.providers
    for _ in range(MIN_FAILURES):
        first.breaker.failed(0.0)

    def goes_to(now: float, under_way: int) -> CalledProvider | None:
        first.calls = under_way
        return order.choose(None, now, pinned=False)

    assert (goes_to(0.5, 0), order.limit(0.5)) == (second, 8)
    assert (goes_to(2.0, 0), goes_to(2.0, 1), order.limit(2.0)) == (first, second, 9), "a probe"
    first.breaker.succeeded(2.0)
    assert [goes_to(4.0, calls) for calls in (2, 3)] == [first, second], "0.4 of 8"
    assert (goes_to(9.0, 7), goes_to(9.0, 8), order.limit(9.0)) == (first, None, 8)


def test_calls_without_an_answer_since_the_breaker_opened_hold_up_no_probe() -> None:
    """A mail server that has died keeps the calls of its connections for a minute; another one answers at the same address."""
    order = Channel().order
    first, second = order.providers
    order.begin(first, 6)
    for _ in range(MIN_FAILURES):
        first.breaker.failed(0.0)

    def chosen(now: float) -> CalledProvider | None:
        return order.choose(None, now, pinned=False)

    def ended(calls: int) -> None:
        first.calls -= calls

    assert (chosen(0.5), first.limit(0.5)) == (second, 0), "it is open"
    assert (chosen(2.0), order.limit(2.0), order.free(2.0)) == (first, 15, 9), "one probe, and the second's 8 calls"
    order.begin(first, 1)
    assert chosen(2.0) is second, "one at a time"
    ended(3)
    assert (chosen(2.0), first.limit(2.0)) == (second, 4), "it is still under way"
    ended(1)
    order.not_begun(first, 1)
    assert chosen(2.0) is first, "it was not made"
    order.begin(first, 1)
    ended(1)
    first.breaker.failed(2.5)
    assert (chosen(2.5), chosen(5.0)) == (second, first), "another one after the pause"
    order.begin(first, 1)
    assert chosen(5.0) is second
    first.breaker.succeeded(5.0)
    assert first.limit(60.0) == 8, "without a limit"
    order.begin(first, 4)
    for _ in range(20):
        first.breaker.failed(60.0)
    assert (first.calls, first.limit(65.0), chosen(65.0)) == (8, 8, second), "there is no connection for a probe"


async def test_a_message_that_the_first_refused_has_its_next_attempt_at_the_next_at_once() -> None:
    channel = Channel(FAILED)
    delivery = await channel.send()
    assert not channel.calls.stays(delivery, FAILED) and channel.order.promise_next("one", time.monotonic())
    assert (await channel.send(last="one")).provider == "two"
    assert not channel.order.promise_next("two", time.monotonic()), "then it waits as without a second provider"
    assert (await channel.send(last="two")).provider == "one"


def test_a_provider_that_is_probed_is_not_the_next_of_a_refused_message() -> None:
    """Without a free probe the message would go to the provider that refused it, before the time that this one asked for."""
    order = Channel().order
    _, second = order.providers
    for _ in range(MIN_FAILURES):
        second.breaker.failed(0.0)
    assert order.limit(2.0) == 8 and second.limit(2.0) > 0, "it may be probed"
    assert not order.promise_next("one", 2.0)


async def test_a_message_in_doubt_stays_with_its_provider() -> None:
    channel = Channel(IN_DOUBT)
    delivery = await channel.send()
    assert channel.calls.stays(delivery, IN_DOUBT)
    assert (await channel.send(last="one", in_doubt=True)).provider == "one"
    channel.open_first()
    await channel.send(last="one", in_doubt=True)
    result = channel.ended.results[-1]
    assert (result.outcome, result.provider, result.begun) == (ProviderOutcome.RETRY, "one", False)
    assert result.retry_after_s is not None and result.retry_after_s > 0.5, "until it may be called"
    assert channel.called() == (2, 0)


async def test_a_call_of_which_only_a_crash_is_known_is_made_again_at_the_first() -> None:
    assert (await Channel().send(in_doubt=True)).provider == "one"


async def test_a_category_may_prefer_a_duplicate_to_waiting() -> None:
    channel = Channel(IN_DOUBT, on_doubt=OnDoubt.NEXT)
    delivery = await channel.send()
    assert not channel.calls.stays(delivery, IN_DOUBT)
    await channel.send(last="one", in_doubt=True)
    assert channel.called() == (1, 1) and channel.two.calls[0].possible_duplicate


async def test_each_provider_has_its_own_budget() -> None:
    channel = Channel(calls_per_s=16.0)
    for _ in range(20):
        await channel.send()
    assert channel.budgets[1].available(time.monotonic()) == 4
    channel.open_first()
    for _ in range(4):
        await channel.send()
    assert channel.called() == (20, 4) and channel.admission.held
    assert [one.reserved for one in channel.order.providers] == [0, 0]


async def test_a_reserved_call_is_paid_by_the_provider_that_is_called() -> None:
    channel = Channel(calls_per_s=16.0)
    channel.open_first()
    await channel.admission.take(1)
    assert channel.budgets[1].available(time.monotonic()) < 4
    channel.admission.begin(channel.order.first)
    assert channel.budgets[1].available(time.monotonic()) == 4


async def test_both_are_shown_and_a_pause_is_of_one() -> None:
    channel = Channel()
    channel.pauses.names = ["two"]
    watching = asyncio.create_task(channel.calls.watch_pauses())
    while not channel.order.providers[1].paused:
        await asyncio.sleep(0)
    watching.cancel()
    channel.open_first()
    state = channel.calls.provider_state()
    assert [(one.provider, one.state) for one in (state, *state.further)] == [("one", "open"), ("two", "paused")]
    assert not_called(state) == ["provider one is open", "provider two is paused"]
    assert channel.admission.held and channel.order.limit(time.monotonic()) == 0


async def test_a_call_begins_only_within_its_check_and_the_proof_of_its_token() -> None:
    channel = Channel()
    now = time.monotonic()
    fresh, unchecked, unproved = (a_delivery(check_until=now + one) for one in (60, -0.001, 60))
    unproved.partition.proved_at = now - 1.001
    fresh.partition.proved_at = now - 0.9
    channel.calls.add([unchecked, unproved, fresh])
    assert channel.ended.again == [unchecked, unproved]
    await channel.all_ended(1)
    assert channel.called() == (1, 0)


async def test_while_too_much_is_not_settled_no_call_begins() -> None:
    channel = Channel()
    channel.ended.behind = [0]
    channel.calls.add([a_delivery()])
    await asyncio.sleep(0)
    assert channel.called() == (0, 0)
    channel.ended.behind = []
    channel.calls.pump()
    await channel.all_ended(1)


async def test_a_shard_on_which_too_much_is_not_settled_holds_up_no_other() -> None:
    channel = Channel()
    on_shard = [a_delivery() for _ in range(4)]
    for place, delivery in enumerate(on_shard):
        delivery.partition.shard = place % 2
    channel.ended.behind = [0]
    channel.calls.add(on_shard)
    await channel.all_ended(2)
    assert [bool(one.first_began) for one in on_shard] == [False, True, False, True]
    channel.ended.behind = []
    channel.calls.pump()
    await channel.all_ended(4)
    channel.ended.behind = [0]
    channel.calls.add([on_shard[0]])
    channel.calls.leave_waiting()
    channel.ended.behind = []
    channel.calls.pump()
    assert channel.called() == (4, 0)


async def test_calls_without_an_answer_are_parked_and_after_two_seconds_are_failures() -> None:
    channel = Channel()
    channel.one.gate = asyncio.Event()
    deliveries = [a_delivery() for _ in range(MIN_FAILURES)]
    channel.calls.add(deliveries)
    await asyncio.sleep(0)
    for delivery in deliveries:
        delivery.began -= 2.0
    watching = asyncio.create_task(channel.calls.watch())
    async with asyncio.timeout(2):
        while channel.order.closed(time.monotonic()) is channel.order.first:
            await asyncio.sleep(0.01)
    watching.cancel()
    assert channel.ended.late == deliveries and all(one.parked and one.provider == "one" for one in deliveries)
    channel.one.gate.set()
    await channel.all_ended(MIN_FAILURES)


def test_the_order_is_that_of_the_settings() -> None:
    settings = ProviderSettings(
        sms_failover="sns", aws_region="eu-west-1", calls_per_s={"sms": 5.0}, failover_calls_per_s={"sms": 3.0}
    )
    order, budgets = configured_order(settings, "sms", "sms")
    assert [one.name for one in order.providers] == ["twilio", "sns"]
    for budget in budgets:
        budget.set_share(1.0, time.monotonic() - 10)
    rates = [15 / one.budget.seconds_until(15, time.monotonic()) for one in order.providers]
    assert rates == pytest.approx([5, 3], rel=0.2)
    assert [one.name for one in configured_order(settings, "email", "email")[0].providers] == ["smtp"]
    assert not settings.sandbox_channels() & {"sms"}, "SNS has no sandbox"


def test_a_worker_sends_as_many_mails_at_once_as_it_may_have_connections() -> None:
    environ = {"NOTIFY_PROVIDERS__SMTP": "smtp://127.0.0.1:1", "NOTIFY_PROVIDERS__SMTP_CONNECTIONS": "40"}
    settings = load_settings("us", environ=environ, config_dir=PROJECT / "config").providers
    order, _ = configured_order(settings, "email", "email")
    assert order.limit(0.0) == 40
    with pytest.raises(SettingsError, match="smtp_connections"):
        load_settings(
            "us", environ=environ | {"NOTIFY_PROVIDERS__SMTP_CONNECTIONS": "0"}, config_dir=PROJECT / "config"
        )


def test_the_provider_that_stands_in_needs_its_credential_too() -> None:
    settings = ProviderSettings(email_provider="ses", email_failover="smtp", aws_region="eu-west-1")
    assert list(settings.failover_problems()) == []
    with pytest.raises(SettingsError, match="mail_sender"):
        check_credentials(settings, "email")
    twice = ProviderSettings(email_failover="smtp", sms_failover="sns")
    assert list(twice.failover_problems()) == ["email_failover must be another provider than email_provider"]
    assert [problem.partition(" ")[0] for problem in twice.aws_problems()] == ["aws_region"]
