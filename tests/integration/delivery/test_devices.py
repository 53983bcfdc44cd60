"""People with several devices, on real replica sets: what is called again, what is removed, what is kept of each."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from notify_streams.delivery.providers import Outgoing, ProviderOutcome, ProviderResult
from notify_streams.records.devices import Device, token_sha
from tests.integration.delivery.delivery_fixtures import BUCKET, DeliveryEnvironment
from tests.waiting import until

pytestmark = pytest.mark.stack

DEVICES = Device("gone"), Device("busy", "apns"), Device("late", "web_push")


class Provider:
    """Each call for a token has its next outcome, then ACCEPTED."""

    name = "fcm"
    max_in_flight = 100

    def __init__(self, **outcomes: list[ProviderOutcome]) -> None:
        self.outcomes = outcomes
        self.calls: list[tuple[str, int]] = []

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def send(self, message: Outgoing) -> ProviderResult:
        self.calls.append((message.to, message.attempt))
        outcome = (self.outcomes.get(message.to) or [ProviderOutcome.ACCEPTED]).pop(0)
        return ProviderResult(outcome=outcome, provider=message.provider or self.name, code=outcome.value)


def answers(attempt: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(one["token_sha"], one["provider"], one["outcome"]) for one in attempt["devices"]]


async def test_only_calls_without_an_end_are_made_again(env: DeliveryEnvironment) -> None:
    dead, retry = ProviderOutcome.DEAD_TOKEN, ProviderOutcome.RETRY
    provider = Provider(gone=[dead], busy=[retry, ProviderOutcome.REJECTED], late=[retry, retry])
    async with env.engine(provider) as engine:
        await engine.deliver(await env.notify("t", devices=DEVICES))
        await until(partial(env.is_in, "sent"))
        assert [(bucket, token) for bucket, _, token, _ in engine.dead_addresses] == [(BUCKET, "gone")]
    assert provider.calls == [("gone", 1), ("busy", 1), ("late", 1), ("busy", 2), ("late", 2), ("late", 3)]
    gone, busy, late = (token_sha(device.token) for device in DEVICES)
    first, second, third = await env.history()
    assert answers(first) == [(gone, "fcm", "dead_token"), (busy, "apns", "retry"), (late, "web_push", "retry")]
    assert answers(second) == [(busy, "apns", "rejected"), (late, "web_push", "retry")]
    assert answers(third) == [(late, "web_push", "accepted")]
    assert (await env.state())["devices"] == third["devices"]
    assert await env.books_close()


async def test_a_delivery_that_one_device_took_is_sent_and_the_dead_one_is_reported(env: DeliveryEnvironment) -> None:
    provider = Provider(gone=[ProviderOutcome.DEAD_TOKEN])
    async with env.engine(provider) as engine:
        await engine.deliver(await env.notify("t", devices=DEVICES[:2]))
        await until(partial(env.is_in, "sent"))
        assert [token for _, _, token, _ in engine.dead_addresses] == ["gone"]
    assert (await env.state())["provider"] == "apns" and len(provider.calls) == 2
    assert await env.counts() == {"taken": 1, "fresh": 1, "sent": 1}


async def test_a_delivery_that_no_device_can_take_fails(env: DeliveryEnvironment) -> None:
    dead = ProviderOutcome.DEAD_TOKEN
    async with env.engine(Provider(gone=[dead], busy=[dead])) as engine:
        await engine.deliver(await env.notify("t", devices=DEVICES[:2]))
        await until(partial(env.is_in, "failed"))
        assert [token for _, _, token, _ in engine.dead_addresses] == ["gone", "busy"]
    assert (await env.state())["reason"] == "dead_token" and await env.books_close()


async def test_an_attempt_to_a_single_token_has_no_devices(env: DeliveryEnvironment) -> None:
    async with env.engine(Provider()) as engine:
        await engine.deliver(await env.notify("t"))
        await until(partial(env.is_in, "sent"))
    (attempt,) = await env.history()
    assert attempt["devices"] is None and "devices" not in await env.state()
