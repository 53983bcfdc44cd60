"""Each device is called at its own provider; one without a credential is not called."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import msgspec
import pytest

from notify_streams.delivery.breaker import LATE_AFTER_S, MIN_FAILURES
from notify_streams.delivery.budget import Budget
from notify_streams.delivery.providers import (
    CallLimit,
    Outgoing,
    ProviderOutcome,
    ProviderResult,
    check_credentials,
    clients_with_budgets,
)
from notify_streams.delivery.providers.from_settings import further_push_providers
from notify_streams.delivery.providers.push_choice import NOT_CONFIGURED, PushChoice
from notify_streams.errors import SettingsError
from notify_streams.secret import Secret
from notify_streams.settings_providers import ProviderSettings
from tests.waiting import until


class Client:
    """Returns `outcome` to each call."""

    max_in_flight = 8

    def __init__(self, name: str) -> None:
        self.name = name
        self.outcome = ProviderOutcome.ACCEPTED
        self.calls = 0
        self.running = False

    async def start(self) -> None:
        self.running = True

    async def send(self, message: Outgoing) -> ProviderResult:
        self.calls += 1
        return ProviderResult(outcome=self.outcome, provider=self.name)

    async def close(self) -> None:
        self.running = False


def of(message: Outgoing, provider: str | None) -> Outgoing:
    return msgspec.structs.replace(message, channel="push", provider=provider)


def choice_of(default: Client, *further: Client, budget: Budget | None = None) -> tuple[PushChoice, list[CallLimit]]:
    limits = [CallLimit(one.name, one.max_in_flight, budget) for one in further]
    return PushChoice(default, {one.name: (one, limit) for one, limit in zip(further, limits, strict=True)}), limits


async def test_a_device_is_called_at_its_provider(an_outgoing: Any) -> None:
    fcm, apns = Client("fcm"), Client("apns")
    choice, _ = choice_of(fcm, apns)
    await choice.start()
    assert fcm.running and apns.running
    found = [(await choice.send(of(an_outgoing(), name))).provider for name in (None, "fcm", "apns")]
    assert (found, fcm.calls, apns.calls) == (["fcm", "fcm", "apns"], 2, 1)
    await choice.close()
    assert not fcm.running and not apns.running


async def test_a_device_without_a_provider_is_a_bad_address(an_outgoing: Any) -> None:
    result = await PushChoice(Client("fcm"), {}).send(of(an_outgoing(), "apns"))
    assert (result.outcome, result.provider, result.detail) == (ProviderOutcome.BAD_ADDRESS, "apns", NOT_CONFIGURED)


async def test_a_further_provider_that_fails_is_not_called_for_a_while_and_the_default_one_is(an_outgoing: Any) -> None:
    fcm, apns = Client("fcm"), Client("apns")
    apns.outcome = ProviderOutcome.RETRY
    choice, (limit,) = choice_of(fcm, apns)
    results = [await choice.send(of(an_outgoing(), "apns")) for _ in range(20)]
    assert 0 < apns.calls < 20
    assert {one.outcome for one in results} == {ProviderOutcome.RETRY} and results[-1].retry_after_s is not None
    assert (await choice.send(of(an_outgoing(), None))).outcome is ProviderOutcome.ACCEPTED
    now = time.monotonic()
    state = limit.state(now, paused=False)
    assert (state.provider, state.state, state.open_for_s > 0) == ("apns", "open", True)
    assert limit.state(now, paused=True).state == "paused"


class Hanging(Client):
    """Answers when `go_on` is set, or as the others do while `answers`."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.go_on = asyncio.Event()
        self.answers = False

    async def send(self, message: Outgoing) -> ProviderResult:
        if not self.answers:
            self.calls += 1
            await self.go_on.wait()
            self.calls -= 1
        return await super().send(message)


async def test_a_further_provider_that_hangs_is_not_called_for_a_while_and_then_probed(an_outgoing: Any) -> None:
    apns = Hanging("apns")
    choice, (limit,) = choice_of(Client("fcm"), apns)
    message = of(an_outgoing(), "apns")
    hanging = [asyncio.create_task(choice.send(message)) for _ in range(MIN_FAILURES)]
    await until(lambda: limit.state(time.monotonic(), paused=False).state == "open", within_s=20.0)
    assert not (await choice.send(message)).begun and apns.calls == MIN_FAILURES
    await until(lambda: limit.state(time.monotonic(), paused=False).state == "probing", within_s=20.0)
    probe = asyncio.create_task(choice.send(message))
    await until(lambda: apns.calls == MIN_FAILURES + 1)
    assert not (await choice.send(message)).begun, "one probe at a time"
    await until(lambda: limit.state(time.monotonic(), paused=False).state == "open", within_s=20.0)
    await until(lambda: limit.state(time.monotonic(), paused=False).state == "probing", within_s=20.0)
    apns.answers = True
    assert (await choice.send(message)).outcome is ProviderOutcome.ACCEPTED
    assert limit.state(time.monotonic(), paused=False).state == "recovering"
    apns.go_on.set()
    await asyncio.gather(probe, *hanging)


async def test_a_late_call_that_fails_counts_once(an_outgoing: Any) -> None:
    apns = Hanging("apns")
    apns.outcome = ProviderOutcome.RETRY
    choice, (limit,) = choice_of(Client("fcm"), apns)
    message = of(an_outgoing(), "apns")
    late = [asyncio.create_task(choice.send(message)) for _ in range(MIN_FAILURES - 1)]
    await asyncio.wait(late, timeout=LATE_AFTER_S + 0.5)
    apns.go_on.set()
    await asyncio.gather(*late)
    assert limit.state(time.monotonic(), paused=False).state == "closed"
    apns.answers = True
    await choice.send(message)
    assert limit.state(time.monotonic(), paused=False).state == "open"


async def test_push_services_that_hang_stop_no_other(an_outgoing: Any) -> None:
    web_push = Hanging("web_push")
    limit = CallLimit("web_push", 8, of_many_servers=True)
    choice = PushChoice(Client("fcm"), {"web_push": (web_push, limit)})
    message = of(an_outgoing(), "web_push")
    hanging = [asyncio.create_task(choice.send(message)) for _ in range(MIN_FAILURES)]
    await asyncio.wait(hanging, timeout=LATE_AFTER_S + 0.5)
    web_push.answers = True
    assert (await choice.send(message)).outcome is ProviderOutcome.ACCEPTED
    web_push.go_on.set()
    await asyncio.gather(*hanging)


async def test_a_further_provider_is_not_called_more_often_than_its_budget_allows(an_outgoing: Any) -> None:
    fcm, apns = Client("fcm"), Client("apns")
    budget = Budget(8.0, time.monotonic() - 10.0)
    budget.set_share(0.5, time.monotonic() - 10.0)
    choice, (limit,) = choice_of(fcm, apns, budget=budget)
    results = [await choice.send(of(an_outgoing(), "apns")) for _ in range(8)]
    assert results[0].outcome is ProviderOutcome.ACCEPTED and results[-1].outcome is ProviderOutcome.RETRY
    assert not results[-1].begun and apns.calls < 3
    state = limit.state(time.monotonic(), paused=False)
    assert (state.state, state.calls, state.calls_per_s) == ("closed", 0, 4.0)
    assert (await choice.send(of(an_outgoing(), None))).outcome is ProviderOutcome.ACCEPTED


WEB_PUSH: dict[str, Any] = {
    "web_push_key": Secret("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE"),
    "web_push_subject": "mailto:ops@example.org",
}


def settings(**given: Any) -> ProviderSettings:
    return ProviderSettings(**({"fcm": "http://127.0.0.1:1", "twilio": "http://127.0.0.1:1"} | given))


def test_the_providers_with_a_credential_are_used() -> None:
    assert further_push_providers(settings()) == []
    assert further_push_providers(settings(**WEB_PUSH)) == ["web_push"]
    assert further_push_providers(settings(push_provider="web_push", **WEB_PUSH)) == ["fcm"]
    assert further_push_providers(ProviderSettings(push_provider="web_push", **WEB_PUSH)) == []


def test_a_further_provider_that_cannot_work_is_refused_at_the_start() -> None:
    check_credentials(settings(**WEB_PUSH), "push")
    with pytest.raises(SettingsError, match="web_push"):
        check_credentials(settings(web_push_key=Secret("no key")), "push")
    check_credentials(settings(web_push_key=Secret("no key")), "email")


def test_each_push_provider_has_the_limit_that_the_settings_give_it() -> None:
    given = settings(calls_per_s={"push": 4.0}, push_calls_per_s={"web_push": {"push": 6.0}}, **WEB_PUSH)
    for role, expected in (("push", [4.0, 6.0]), ("cric_push", [None, None])):
        client, budgets, further = clients_with_budgets(given, "push", role, 0.0)
        for one in budgets:
            one.set_share(1.0, 0.0)
        assert (client.name, [one.calls_per_s for one in budgets], [*further]) == ("fcm", expected, ["web_push"])
        assert further["web_push"].state(0.0, paused=False).calls_per_s == expected[1]


def test_the_limit_of_the_default_provider_has_one_place() -> None:
    (problem,) = settings(push_calls_per_s={"fcm": {"push": 1.0}}).failover_problems()
    assert problem == "push_calls_per_s.fcm must be calls_per_s: fcm is the push_provider"
