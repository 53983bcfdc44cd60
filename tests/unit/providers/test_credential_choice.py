"""Several credentials of one provider: each call uses one that has calls left and was not refused."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Any

import pytest

from notify_streams.delivery.budget import Budget
from notify_streams.delivery.providers import Outgoing, ProviderOutcome, ProviderResult, provider_with_budgets
from notify_streams.delivery.providers.credential_choice import CredentialChoice
from notify_streams.delivery.providers.http_responses import HttpResponse, error_result
from notify_streams.delivery.providers.smtp import Smtp
from notify_streams.secret import Secret
from notify_streams.settings_providers import MoreCredential, ProviderSettings


class Client:
    """Returns `result` to each call, after `gate` was set."""

    name = "twilio"
    max_in_flight = 8

    def __init__(self) -> None:
        self.result = ProviderResult(outcome=ProviderOutcome.ACCEPTED, provider=self.name)
        self.gate = asyncio.Event()
        self.gate.set()
        self.calls = 0
        self.running = False

    async def start(self) -> None:
        self.running = True

    async def send(self, message: Outgoing) -> ProviderResult:
        self.calls += 1
        await self.gate.wait()
        return self.result

    async def close(self) -> None:
        self.running = False


def budget(calls_per_s: float | None) -> Budget:
    """One that may make all the calls that it saves in a long time, at once."""
    made = Budget(calls_per_s, 0.0)
    made.set_share(1.0, 0.0)
    return made


def choice(*calls_per_s: float | None) -> tuple[CredentialChoice, list[Client]]:
    clients = [Client() for _ in calls_per_s]
    return CredentialChoice(clients, [budget(one) for one in calls_per_s]), clients


async def test_calls_are_divided_as_the_budgets_are(an_outgoing: Any) -> None:
    provider, clients = choice(400.0, 1200.0)
    for _ in range(400):  # what both may make at once: a quarter of a second
        await provider.send(an_outgoing())
    first, second = (client.calls for client in clients)
    assert first + second == 400
    assert 75 <= first <= 125, "a quarter; on a busy machine both save calls meanwhile"


async def test_without_limits_the_least_busy_credential_is_used(an_outgoing: Any) -> None:
    provider, clients = choice(None, None, None)
    for client in clients:
        client.gate.clear()
    calls = [asyncio.create_task(provider.send(an_outgoing())) for _ in range(9)]
    async with asyncio.timeout(5):
        while sum(client.calls for client in clients) < 9:
            await asyncio.sleep(0)
    assert [client.calls for client in clients] == [3, 3, 3]
    for client in clients:
        client.gate.set()
    await asyncio.gather(*calls)


async def test_a_refused_credential_is_set_aside_while_another_one_is_there(an_outgoing: Any) -> None:
    provider, clients = choice(None, None)
    clients[0].result = error_result("twilio", HttpResponse(401, None, b""), "20003", {})
    outcomes = Counter([(await provider.send(an_outgoing())).outcome for _ in range(10)])
    assert outcomes == {ProviderOutcome.RETRY: 1, ProviderOutcome.ACCEPTED: 9}
    clients[1].result = clients[0].result
    assert [(await provider.send(an_outgoing())).outcome for _ in range(3)] == [ProviderOutcome.RETRY] * 3


async def test_all_clients_start_and_close() -> None:
    provider, clients = choice(None, None)
    await provider.start()
    assert [client.running for client in clients] == [True, True]
    await provider.close()
    assert [client.running for client in clients] == [False, False]


@pytest.mark.parametrize(
    ("rates", "together"), [([{"sms": 8.0}, {"sms": 16.0}], 6.0), ([{"sms": 8.0}, {}], float("inf"))]
)
def test_the_budget_of_the_worker_is_that_of_all_credentials(rates: list[dict[str, float]], together: float) -> None:
    settings = ProviderSettings(
        twilio="http://127.0.0.1:1",
        calls_per_s=rates[0],
        more_credentials=(MoreCredential(provider="twilio", twilio_sender="+15550100201", calls_per_s=rates[1]),),
    )
    now = time.monotonic()
    provider, budgets = provider_with_budgets(settings, "sms", "sms", now)
    for one in budgets:
        one.set_share(1.0, now)
    assert isinstance(provider, CredentialChoice)
    assert len(budgets) == 3
    assert budgets[0].available(now + 1) == together


def test_one_credential_is_one_client_with_its_budget() -> None:
    settings = ProviderSettings(
        mail_sender="a@example.org",
        more_credentials=(MoreCredential(provider="twilio", twilio_auth_token=Secret("t")),),
    )
    provider, budgets = provider_with_budgets(settings, "email", "email", 0.0)
    assert isinstance(provider, Smtp)
    assert len(budgets) == 1
