"""A message to several devices: one call for each, at the same time, each counted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pytest

from notify_streams.delivery.admission import Admission
from notify_streams.delivery.breaker import BreakerState
from notify_streams.delivery.budget import Budget
from notify_streams.delivery.calls import ProviderCalls
from notify_streams.delivery.delivery_ledger import OwnedLedger, Token
from notify_streams.delivery.device_results import device_outcomes
from notify_streams.delivery.partition import Delivery, Partition
from notify_streams.delivery.provider_order import CalledProvider, ProviderOrder
from notify_streams.delivery.providers import CallLimit, Outgoing, ProviderOutcome, ProviderResult
from notify_streams.delivery.rendering import text_of
from notify_streams.metrics import REGISTRY
from notify_streams.records.channel_message import ChannelMessage
from notify_streams.records.devices import Device
from notify_streams.templates.catalog import RenderingError, Text
from notify_streams.web.health import not_called
from tests.builders import a_message, categories, templates
from tests.unit.delivery.test_calls import Handler
from tests.waiting import until

PHONE, TABLET, BROWSER = Device("phone"), Device("tablet", "apns", "org.example.app"), Device("browser", "web_push")


class Provider:
    """Answers each token with its outcome, else accepts; no sooner than `gate` is set."""

    name = "fcm"

    def __init__(self, max_in_flight: int = 4, **outcomes: ProviderOutcome) -> None:
        self.max_in_flight = max_in_flight
        self.outcomes = outcomes
        self.calls: list[Outgoing] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def send(self, message: Outgoing) -> ProviderResult:
        self.calls.append(message)
        await self.gate.wait()
        outcome = self.outcomes.get(message.to, ProviderOutcome.ACCEPTED)
        return ProviderResult(outcome=outcome, provider=message.provider or self.name)

    def tokens(self) -> list[str]:
        return [call.to for call in self.calls]


class Pauses:
    def __init__(self, *paused: str) -> None:
        self._paused = paused

    async def read(self) -> dict[str, Any]:
        return dict.fromkeys(self._paused)


class Calls:
    """`ProviderCalls` with what they need."""

    def __init__(
        self,
        provider: Provider,
        budget: Budget | None = None,
        *paused: str,
        of_devices: Mapping[str, CallLimit] | None = None,
    ) -> None:
        self.provider, self.handler = provider, Handler()
        self.budget = budget or Budget(None, 0.0)
        order = ProviderOrder([CalledProvider(provider, self.budget)], of_devices)
        self.breaker, self.admission = order.first.breaker, Admission(order)
        pauses: Any = Pauses(*paused)
        self.calls = ProviderCalls(
            "standard", "push", order, categories(), templates(), self.admission, pauses, self.handler
        )
        ledger = OwnedLedger(partition=3, next_offset=0, claimed_to=0, last_flush="", seen={})
        self._partition = Partition(ledger, Token(1), 0, time.monotonic())

    def begin(self, *messages: ChannelMessage) -> None:
        until = time.monotonic() + 60
        self.calls.add([Delivery(self._partition, b"key", one, b"", None, check_until=until) for one in messages])

    async def ended(self) -> ProviderResult:
        _, result = await asyncio.wait_for(self.handler.ended.get(), 5)
        return result


def to_devices(*devices: Device, **but: Any) -> ChannelMessage:
    return a_message(**({"to": "", "devices": devices, "locale": "de", "data": {"amount": 1234.5}} | but))


def outcomes(result: ProviderResult) -> Sequence[str]:
    return [one.result.outcome.value for one in result.devices or ()]


async def test_each_device_is_called_with_what_is_its_own() -> None:
    calls = Calls(Provider())
    calls.begin(to_devices(PHONE, TABLET, msgspec.structs.replace(BROWSER, locale="en")))
    result = await calls.ended()
    assert result.outcome is ProviderOutcome.ACCEPTED and outcomes(result) == ["accepted"] * 3
    found = [(call.to, call.provider, call.app, call.title) for call in calls.provider.calls]
    assert found == [
        ("phone", None, None, "Zahlung eingegangen"),
        ("tablet", "apns", "org.example.app", "Zahlung eingegangen"),
        ("browser", "web_push", None, "Payment received"),
    ]
    assert len({call.delivery_id for call in calls.provider.calls}) == 1


async def test_a_device_of_another_locale_has_the_version_of_its_own_text() -> None:
    """A locale that falls back to the person's template has none."""
    devices = [msgspec.structs.replace(one, locale=locale) for one, locale in ((TABLET, "de-AT"), (BROWSER, "en"))]
    calls = Calls(Provider())
    versions = []
    for message in (to_devices(PHONE, *devices), to_devices(devices[1], template=None, title="T", body="B")):
        calls.begin(message)
        stored = device_outcomes((await calls.ended()).devices or ())
        versions.append([one.template_version for one in stored])
    assert versions == [[None, None, templates().locales("payment_received")["en"].version], [None]]


async def test_all_devices_are_called_at_the_same_time_and_each_call_counts() -> None:
    calls = Calls(Provider(max_in_flight=4))
    calls.provider.gate.clear()
    calls.begin(to_devices(PHONE, TABLET, BROWSER), to_devices(PHONE, TABLET), a_message())
    await until(lambda: len(calls.provider.calls) == 3, "all devices of the first are called")
    await asyncio.sleep(0)
    assert calls.provider.tokens() == ["phone", "tablet", "browser"], "the second needs two, and one is left"
    assert calls.calls.provider_state().calls == 3
    calls.provider.gate.set()
    for _ in range(3):
        assert (await calls.ended()).outcome is ProviderOutcome.ACCEPTED
    assert len(calls.provider.calls) == 6 and calls.calls.provider_state().calls == 0


async def test_more_devices_than_calls_may_be_under_way_are_called_all_the_same() -> None:
    calls = Calls(Provider(max_in_flight=1))
    calls.begin(to_devices(PHONE, TABLET))
    assert outcomes(await calls.ended()) == ["accepted", "accepted"]


async def test_further_devices_are_paid_from_the_budget() -> None:
    budget = Budget(100.0, 0.0)
    budget.set_share(1.0, 0.0)
    calls = Calls(Provider(), budget)
    await calls.admission.take(1)
    now = time.monotonic()
    before = budget.available(now)
    calls.begin(to_devices(PHONE, TABLET, BROWSER))
    assert budget.available(now) == before - 2, "the first was paid when it was admitted"
    await calls.ended()


async def test_what_the_breaker_counts_is_about_its_provider() -> None:
    dead = ProviderOutcome.RETRY
    calls = Calls(Provider(tablet=dead, phone=ProviderOutcome.DEAD_TOKEN))
    for _ in range(20):
        calls.begin(to_devices(PHONE, TABLET))
        assert (await calls.ended()).outcome is ProviderOutcome.RETRY
    assert calls.breaker.state(time.monotonic()) is BreakerState.CLOSED, "another provider fails"
    calls = Calls(Provider(phone=dead))
    for _ in range(5):
        calls.begin(to_devices(PHONE, TABLET))
        assert outcomes(await calls.ended()) == ["retry", "accepted"]
    assert calls.breaker.state(time.monotonic()) is BreakerState.OPEN


async def test_a_device_of_a_paused_provider_waits_and_the_others_are_called() -> None:
    calls = Calls(Provider(), None, "apns")
    watching = asyncio.create_task(calls.calls.watch_pauses())
    await asyncio.sleep(0.01)
    watching.cancel()
    calls.begin(to_devices(PHONE, TABLET))
    result = await calls.ended()
    assert (result.outcome, result.begun, outcomes(result)) == (ProviderOutcome.RETRY, True, ["accepted", "retry"])
    calls.begin(to_devices(TABLET))
    result = await calls.ended()
    assert (result.outcome, result.begun, calls.provider.tokens()) == (ProviderOutcome.RETRY, False, ["phone"])


async def test_each_push_provider_has_its_own_state(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    failing, fine = CallLimit("web_push", 4), CallLimit("apns", 4, Budget(10.0, 0.0))
    calls = Calls(Provider(), None, "apns", of_devices={"apns": fine, "web_push": failing})
    for _ in range(5):
        await failing.counted(refusal())
    watching = asyncio.create_task(calls.calls.watch_pauses())
    await until(lambda: len(_logged(caplog)) == 2, "both are logged")
    watching.cancel()
    state = calls.calls.provider_state()
    assert [(one.provider, one.state, one.calls_per_s) for one in (state, *state.further)] == [
        ("fcm", "closed", None),
        ("apns", "paused", 0.0),
        ("web_push", "open", None),
    ]
    assert not_called(state) == ["provider apns is paused", "provider web_push is open"]
    assert _logged(caplog) == [("apns", "paused"), ("web_push", "open")]
    for name in ("apns", "web_push"):
        assert REGISTRY.get_sample_value("notify_provider_stopped", {"provider": name}) == 1.0


def _logged(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    lines = [vars(one) for one in caplog.records if vars(one).get("action") == "provider.state"]
    return [(one["provider"], one["state"]) for one in lines]


async def refusal() -> ProviderResult:
    return ProviderResult(outcome=ProviderOutcome.RETRY, provider="web_push")


async def test_a_defect_at_one_device_is_that_devices_alone() -> None:
    class Broken(Provider):
        async def send(self, message: Outgoing) -> ProviderResult:
            if message.to == "tablet":
                raise ValueError(message.to)
            return await super().send(message)

    calls = Calls(Broken())
    calls.begin(to_devices(PHONE, TABLET))
    result = await calls.ended()
    assert (result.outcome, outcomes(result)) == (ProviderOutcome.RETRY, ["accepted", "retry"])


@pytest.mark.parametrize(("phone", "is_kept"), [("accepted", True), ("dead_token", False)])
async def test_a_worker_that_stops_keeps_what_a_device_took(phone: str, is_kept: bool) -> None:
    """Else the next owner would call that device again."""
    calls = Calls(Provider(phone=ProviderOutcome(phone), tablet=ProviderOutcome.RETRY))
    calls.provider.gate.clear()
    calls.begin(to_devices(PHONE, TABLET))
    await until(lambda: len(calls.provider.calls) == 2, "both are called")
    calls.calls.stopping = True
    calls.provider.gate.set()
    await until(lambda: calls.calls.provider_state().calls == 0, "both have ended")
    assert calls.handler.ended.empty() is not is_kept


async def test_a_refused_credential_is_that_of_the_devices_provider() -> None:
    class Refused(Provider):
        async def send(self, message: Outgoing) -> ProviderResult:
            result = await super().send(message)
            is_tablet = message.to == "tablet"
            return msgspec.structs.replace(result, credential_refused=is_tablet, detail="HTTP 403" if is_tablet else "")

    calls = Calls(Refused(tablet=ProviderOutcome.RETRY))
    calls.begin(to_devices(PHONE, TABLET))
    await calls.ended()
    assert calls.calls.provider_state().credential_problems == {"apns": "HTTP 403"}


async def test_a_text_that_fails_in_the_locale_of_one_device_is_sent_in_that_of_the_person(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def only_german(message: ChannelMessage, *rest: Any) -> Text:
        if message.locale != "de":
            raise RenderingError("the text is too long")
        return text_of(message, *rest)

    monkeypatch.setattr("notify_streams.delivery.outgoing_messages.text_of", only_german)
    calls = Calls(Provider())
    calls.begin(to_devices(PHONE, msgspec.structs.replace(BROWSER, locale="en")))
    assert outcomes(await calls.ended()) == ["accepted"] * 2
    assert [call.title for call in calls.provider.calls] == ["Zahlung eingegangen"] * 2
