"""What a provider is called with: the text in the person's locale, and the version of the template for the attempt."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import msgspec
import pytest

from notify_streams.delivery.admission import Admission
from notify_streams.delivery.breaker import Breaker
from notify_streams.delivery.budget import Budget
from notify_streams.delivery.calls import ProviderCalls
from notify_streams.delivery.delivery_ledger import OwnedLedger, Token
from notify_streams.delivery.partition import Delivery, Partition
from notify_streams.delivery.providers import Outgoing, ProviderOutcome, ProviderResult
from notify_streams.records.channel_message import ChannelMessage
from tests.builders import a_message, categories, templates


class Provider:
    """Accepts everything, and keeps it."""

    name = "fake"
    max_in_flight = 4

    def __init__(self) -> None:
        self.calls: list[Outgoing] = []

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def send(self, message: Outgoing) -> ProviderResult:
        self.calls.append(message)
        return ProviderResult(outcome=ProviderOutcome.ACCEPTED, provider=self.name)


class Handler:
    """Keeps how calls ended."""

    def __init__(self) -> None:
        self.ended: asyncio.Queue[tuple[Delivery, ProviderResult]] = asyncio.Queue()

    def call_ended(self, delivery: Delivery, result: ProviderResult) -> None:
        self.ended.put_nowait((delivery, result))

    def call_is_late(self, delivery: Delivery, waited_s: float) -> None: ...

    def check_again(self, partition: Partition, deliveries: Any) -> None: ...

    def leave(self, delivery: Delivery) -> None: ...


class NoPauses:
    async def read(self) -> dict[str, Any]:
        return {}


async def called(message: ChannelMessage) -> tuple[list[Outgoing], Delivery, ProviderResult]:
    """The calls that one message makes, and how it ends."""
    provider, handler, breaker = Provider(), Handler(), Breaker()
    admission = Admission(breaker, Budget(None, 0.0), provider.max_in_flight)
    pauses: Any = NoPauses()
    calls = ProviderCalls(
        "standard", message.channel, provider, categories(), templates(), breaker, admission, pauses, handler
    )
    now = time.monotonic()
    partition = Partition(
        OwnedLedger(partition=3, next_offset=0, claimed_to=0, last_flush="", seen={}), Token(1), 0, now
    )
    calls.add([Delivery(partition, b"key", message, b"", None, check_until=now + 60)])
    delivery, result = await asyncio.wait_for(handler.ended.get(), 5)
    return provider.calls, delivery, result


async def test_a_person_gets_a_mail_of_two_parts_in_their_locale() -> None:
    message = a_message(channel="email", locale="de-AT", time_zone="Europe/Vienna", data={"amount": 1234.5})
    (call,), delivery, result = await called(message)
    assert (call.title, call.body.partition("\n")[0]) == ("Zahlung eingegangen", "Sie haben 1.234,50 erhalten.")
    assert call.html is not None and "Sie haben 1.234,50 erhalten." in call.html
    assert result.outcome is ProviderOutcome.ACCEPTED
    assert delivery.template_version == templates().locales("payment_received")["de"].version


async def test_a_text_of_the_triggers_own_has_no_version() -> None:
    (call,), delivery, _ = await called(a_message(channel="email", template=None, title="T", body="B"))
    assert (call.title, call.body, call.html, delivery.template_version) == ("T", "B", None, None)


@pytest.mark.parametrize("but", [{"data": {}}, {"data": None}, {"template": "gone"}, {"data": {"amount": None}}])
async def test_a_message_that_its_template_does_not_fit_is_not_sent(but: dict[str, Any]) -> None:
    calls, _, result = await called(a_message(**but))
    assert (calls, result.outcome, result.begun) == ([], ProviderOutcome.RENDERING, False)
    assert "amount" not in msgspec.json.encode(result).decode()
