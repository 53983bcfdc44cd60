"""The properties of the sandbox on which tests and the audit rely."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp

from notify_streams.delivery.providers import ProviderOutcome, provider_for
from notify_streams.secret import Secret
from tests.waiting import until


async def test_health_shows_ports_and_counts(own_sandbox: Any, outbox_of: Any) -> None:
    provider = provider_for("push", own_sandbox.config())
    await provider.start()
    await provider.send(outbox_of("push").message())
    await provider.close()
    async with aiohttp.request("GET", f"{own_sandbox.url}/health") as response:
        assert await response.json() == {
            "healthy": True,
            "ports": own_sandbox.ports,
            "messages": {"fcm": {"accept": 1}},
        }


async def test_each_confirmed_message_survives_a_kill_under_load(own_sandbox: Any, outbox_of: Any) -> None:
    outbox = outbox_of("push")
    provider = provider_for("push", own_sandbox.config(max_in_flight=50, fcm_timeout_s=2.0))
    await provider.start()
    confirmed: set[str] = set()
    enough = asyncio.Event()

    async def send_until_it_fails() -> None:
        while True:
            message = outbox.message()
            if (await provider.send(message)).outcome is not ProviderOutcome.ACCEPTED:
                return
            confirmed.add(message.delivery_id)
            if len(confirmed) >= 300:
                enough.set()

    senders = [asyncio.create_task(send_until_it_fails()) for _ in range(50)]
    await asyncio.wait_for(enough.wait(), 30)
    await own_sandbox.kill()
    await asyncio.gather(*senders)
    await own_sandbox.start()
    after = outbox.message()
    assert (await provider.send(after)).outcome is ProviderOutcome.ACCEPTED
    await provider.close()

    recorded = own_sandbox.all_accepted()
    assert len(recorded) == len(set(recorded))
    assert confirmed | {after.delivery_id} <= set(recorded)


async def test_a_message_is_accepted_after_the_client_timed_out(sandbox: Any, outbox_of: Any) -> None:
    await sandbox.control(provider="fcm", latency_ms=2500)
    provider = provider_for("push", sandbox.config(fcm_timeout_s=1.0))
    await provider.start()
    message = outbox_of("push").message()
    result = await provider.send(message)
    assert (result.outcome, result.maybe_accepted) == (ProviderOutcome.RETRY, True)
    await until(lambda: sandbox.accepted(message.delivery_id))
    await provider.close()


async def test_an_invalid_fault_plan_is_refused_with_a_reason(sandbox: Any) -> None:
    async with aiohttp.request("POST", f"{sandbox.url}/control", data=b'{"provider": "fax"}') as response:
        assert response.status == 400
        assert "fax" in (await response.json())["error"]


async def test_nothing_is_sent_without_an_access_token(sandbox: Any, outbox_of: Any) -> None:
    async def broken() -> str:
        raise LookupError("secret-key")

    provider = provider_for("push", sandbox.config(fcm_token=broken))
    await provider.start()
    result = await provider.send(outbox_of("push").message())
    await provider.close()
    assert (result.outcome, result.begun) == (ProviderOutcome.RETRY, False)
    assert "secret" not in repr(result)


async def test_a_token_is_used_for_a_while_and_asked_for_again_when_it_is_refused(sandbox: Any, outbox_of: Any) -> None:
    tokens = ["", "valid", "later"]
    asked: list[str] = []

    async def next_token() -> str:
        asked.append(tokens[len(asked)])
        return asked[-1]

    outbox = outbox_of("push")
    provider = provider_for("push", sandbox.config(fcm_token=next_token))
    await provider.start()
    outcomes = [(await provider.send(outbox.message())).outcome for _ in range(4)]
    await provider.close()
    assert outcomes == [ProviderOutcome.RETRY, *[ProviderOutcome.ACCEPTED] * 3]
    assert asked == ["", "valid"]


async def test_a_wrong_login_leads_to_a_retry(sandbox: Any, outbox_of: Any) -> None:
    message = outbox_of("sms").message()
    provider = provider_for("sms", sandbox.config(twilio_auth_token=Secret("")))
    await provider.start()
    result = await provider.send(message)
    await provider.close()
    assert (result.outcome, result.code) == (ProviderOutcome.RETRY, "20003")
    assert sandbox.accepted(message.delivery_id) == []


async def test_an_international_address_and_subject_arrive(sandbox: Any, outbox_of: Any) -> None:
    message = outbox_of("email").message(to="jörg@müller.example", title="Zahlung über 12 €", delivery_id="größe-1")
    provider = provider_for("email", sandbox.config())
    await provider.start()
    assert (await provider.send(message)).outcome is ProviderOutcome.ACCEPTED
    await provider.close()
    assert len(sandbox.accepted("größe-1")) == 1
