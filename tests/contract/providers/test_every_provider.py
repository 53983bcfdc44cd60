"""The contract of the provider clients, tested with the sandbox."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest

from notify_streams.admin.audit.provider_log import contact_sha
from notify_streams.delivery.providers import Provider, ProviderOutcome
from notify_streams.records.ids import delivery_id, notification_id
from tests.contract.providers.conftest import CHANNEL_OF

#: By provider: its code for a contact that is not valid any more.
DEAD = {"fcm": "UNREGISTERED", "apns": "Unregistered", "web_push": "410", "twilio": "21610", "smtp": "550 5.1.1"}
BUSY = {"push": 429, "sms": 429, "email": 451}
BAD = {"push": 400, "sms": 400, "email": 554}
HTTP = ("push", "sms")


@pytest.fixture(params=CHANNEL_OF)
def name(request: pytest.FixtureRequest) -> str:
    """The provider."""
    return str(request.param)


@pytest.fixture
def channel(name: str) -> str:
    return CHANNEL_OF[name]


@pytest.fixture
def outbox(outbox_of: Any, channel: str, name: str, sandbox: Any) -> Any:
    return outbox_of(channel, partial(sandbox.contact, name))


@pytest.fixture
async def client(sandbox: Any, name: str) -> AsyncIterator[Provider]:
    provider = sandbox.client(name)
    await provider.start()
    yield provider
    await provider.close()


async def send_with_short_timeout(sandbox: Any, name: str, message: Any, **but: Any) -> Any:
    provider = sandbox.client(name, **{"timeout_s": 1.0, "fcm_timeout_s": 1.0, "smtp_reply_timeout_s": 1.0, **but})
    await provider.start()
    try:
        return await provider.send(message)
    finally:
        await provider.close()


class TestEveryProvider:
    async def test_an_accepted_message_is_in_the_record_exactly_once(
        self, client: Any, sandbox: Any, outbox: Any, name: str
    ) -> None:
        before = time.time()
        message = outbox.message(attempt=2, critical=True, decided_at_ms=1764000000123)
        result = await client.send(message)
        after = time.time()

        assert result.outcome is ProviderOutcome.ACCEPTED
        assert result.provider == client.name == name
        assert result.provider_id or name == "web_push"
        assert result.segments == (1 if message.channel == "sms" else None)
        (line,) = sandbox.accepted(message.delivery_id)
        assert before <= line.at <= line.done <= after
        assert (line.provider, line.channel) == (client.name, message.channel)
        assert line.notification_id == message.notification_id
        assert (line.attempt, line.critical, line.possible_duplicate) == (2, True, False)
        assert line.to_sha == contact_sha(message.to)
        assert line.decided_at == "1764000000123"

    async def test_the_mark_of_a_possible_duplicate_is_transmitted(
        self, client: Any, sandbox: Any, outbox: Any
    ) -> None:
        message = outbox.message(possible_duplicate=True)
        await client.send(message)
        (line,) = sandbox.accepted(message.delivery_id)
        assert line.possible_duplicate
        assert not line.critical

    @pytest.mark.parametrize(
        "trigger_id", ["a  b%00&=+=?utf-8?q?x?=", "x" * 63 + " y" * 32, "漢" * 128, "😀\u200d" * 64]
    )
    async def test_every_id_is_in_the_record_as_it_was_sent(
        self, client: Any, sandbox: Any, outbox: Any, name: str, trigger_id: str
    ) -> None:
        notification = notification_id(trigger_id, name, "payments")
        message = outbox.message(delivery_id=delivery_id(notification, outbox.channel), notification_id=notification)
        assert (await client.send(message)).outcome is ProviderOutcome.ACCEPTED
        (line,) = sandbox.accepted(message.delivery_id)
        assert (line.delivery_id, line.notification_id) == (message.delivery_id, notification)

    async def test_concurrent_messages_are_each_accepted_once(self, client: Any, sandbox: Any, outbox: Any) -> None:
        messages = [outbox.message() for _ in range(300)]
        slots = asyncio.Semaphore(client.max_in_flight)

        async def send(message: Any) -> Any:
            async with slots:
                return await client.send(message)

        results = await asyncio.gather(*map(send, messages))
        assert {result.outcome for result in results} == {ProviderOutcome.ACCEPTED}
        assert all(len(sandbox.accepted(message.delivery_id)) == 1 for message in messages[:3] + messages[-3:])

    async def test_a_busy_provider_leads_to_a_retry_with_its_delay(
        self, client: Any, sandbox: Any, outbox: Any, channel: str
    ) -> None:
        await sandbox.control(provider=client.name, fail={"status": BUSY[channel], "share": 1.0, "retry_after_s": 7.5})
        message = outbox.message()
        result = await client.send(message)
        assert result.outcome is ProviderOutcome.RETRY
        assert result.retry_after_s == (7.5 if channel in HTTP else None)
        assert result.begun and not result.maybe_accepted
        assert sandbox.accepted(message.delivery_id) == []

    async def test_a_rejected_message_has_a_code(self, client: Any, sandbox: Any, outbox: Any, channel: str) -> None:
        await sandbox.control(provider=client.name, fail={"status": BAD[channel]})
        message = outbox.message()
        result = await client.send(message)
        assert result.outcome is ProviderOutcome.REJECTED
        assert result.code
        assert sandbox.accepted(message.delivery_id) == []

    async def test_a_rejection_leaves_the_connection_usable(
        self, client: Any, sandbox: Any, outbox: Any, channel: str
    ) -> None:
        await sandbox.control(provider=client.name, fail={"status": BAD[channel]})
        await client.send(outbox.message())
        await sandbox.behave()
        assert (await client.send(outbox.message())).outcome is ProviderOutcome.ACCEPTED

    async def test_an_invalid_contact_is_not_retried(
        self, client: Any, sandbox: Any, outbox: Any, channel: str, name: str
    ) -> None:
        message = outbox.message()
        await sandbox.control(provider=client.name, dead_tokens=[message.to])
        result = await client.send(message)
        assert result.outcome is (ProviderOutcome.REJECTED if channel == "sms" else ProviderOutcome.DEAD_TOKEN)
        assert result.code == DEAD[name]
        assert not result.unknown_code
        assert (await client.send(outbox.message())).outcome is ProviderOutcome.ACCEPTED

    async def test_a_call_to_a_hanging_provider_ends_within_the_timeout(
        self, client: Any, sandbox: Any, outbox: Any, name: str
    ) -> None:
        await sandbox.control(provider=client.name, hang=True)
        message = outbox.message()
        began = time.monotonic()
        result = await send_with_short_timeout(sandbox, name, message)
        assert 0.9 < time.monotonic() - began < 5.0
        assert result.outcome is ProviderOutcome.RETRY
        assert result.maybe_accepted
        assert sandbox.accepted(message.delivery_id) == []

    async def test_after_a_lost_response_the_next_call_may_be_a_duplicate(
        self, client: Any, sandbox: Any, outbox: Any
    ) -> None:
        await sandbox.control(provider=client.name, lose_answer=True)
        message = outbox.message()
        result = await client.send(message)
        assert result.outcome is ProviderOutcome.RETRY
        assert result.maybe_accepted
        assert len(sandbox.accepted(message.delivery_id)) == 1

    async def test_a_refused_connection_is_a_retry_that_was_not_accepted(
        self, own_sandbox: Any, outbox: Any, name: str
    ) -> None:
        await own_sandbox.kill()
        result = await send_with_short_timeout(own_sandbox, name, outbox.message(to=own_sandbox.contact(name, 1)))
        assert (result.outcome, result.maybe_accepted, result.begun) == (ProviderOutcome.RETRY, False, False)

    async def test_a_client_reconnects_after_a_restart_of_the_provider(
        self, own_sandbox: Any, outbox: Any, name: str
    ) -> None:
        provider = own_sandbox.client(name)
        await provider.start()
        first, second = (outbox.message(to=own_sandbox.contact(name, number)) for number in (1, 2))
        assert (await provider.send(first)).outcome is ProviderOutcome.ACCEPTED
        await own_sandbox.kill()
        assert (await provider.send(second)).outcome is ProviderOutcome.RETRY
        await own_sandbox.start()
        assert (await provider.send(second)).outcome is ProviderOutcome.ACCEPTED
        await provider.close()
        assert len(own_sandbox.accepted(first.delivery_id)) == len(own_sandbox.accepted(second.delivery_id)) == 1

    async def test_a_call_without_a_free_connection_is_not_begun_late(
        self, sandbox: Any, outbox: Any, name: str
    ) -> None:
        await sandbox.control(provider=name, latency_ms=4500)
        provider = sandbox.client(name, max_in_flight=1, smtp_connections=1, start_within_s=0.6)
        await provider.start()
        first, second = outbox.message(), outbox.message()
        running = asyncio.create_task(provider.send(first))
        await asyncio.sleep(0)
        began = time.monotonic()
        late = await provider.send(second)
        assert time.monotonic() - began < 3.0
        assert (late.outcome, late.maybe_accepted, late.begun) == (ProviderOutcome.RETRY, False, False)
        assert (await running).outcome is ProviderOutcome.ACCEPTED
        await provider.close()
        assert sandbox.accepted(second.delivery_id) == []

    @pytest.mark.parametrize(
        "orders", [{"hang": True}, {"fail": {"status": 400}}, {"lose_answer": True}, {"dead": True}]
    )
    async def test_neither_the_result_nor_the_record_names_a_contact(
        self, client: Any, sandbox: Any, outbox: Any, channel: str, name: str, orders: dict[str, Any]
    ) -> None:
        message = outbox.message()
        if orders.get("dead"):
            orders = {"dead_tokens": [message.to]}
        elif "fail" in orders:
            orders = {"fail": {"status": BAD[channel]}}
        await sandbox.control(provider=client.name, **orders)
        result = await send_with_short_timeout(sandbox, name, message)
        assert message.to not in repr(result)
        assert message.to not in sandbox.record.read_text()
