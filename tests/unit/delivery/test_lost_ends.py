"""An unexpected error at the end of a call is logged, keeps no place, and reaches the engine."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

import pytest

from notify_streams.delivery.breaker import MIN_FAILURES
from notify_streams.delivery.outgoing_messages import OutgoingMessages
from notify_streams.delivery.partition import Delivery
from notify_streams.delivery.providers import ProviderOutcome, ProviderResult
from notify_streams.failpoints import armed
from tests.unit.delivery.test_failover import Channel, Ended, a_delivery
from tests.waiting import until


class Broken(Ended):
    """Cannot handle how a call ended."""

    def call_ended(self, delivery: Delivery, result: ProviderResult) -> None:
        raise KeyError(delivery.message.to)


@pytest.mark.parametrize(
    ("failpoints", "error"), [("", "KeyError"), ("after_provider=raise", "FailpointReached")], ids=["handler", "before"]
)
async def test_an_unexpected_error_at_the_end_of_a_call_is_seen_and_keeps_no_place(
    caplog: pytest.LogCaptureFixture, failpoints: str, error: str
) -> None:
    unhandled: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: unhandled.append(context))
    channel = Channel(handler=Ended() if failpoints else Broken())
    places = await channel.admission.take(1_000)
    delivery = a_delivery()
    with armed(failpoints):
        channel.calls.add([delivery])
        await until(lambda: bool(channel.ended.lost))
    assert [(one, type(why).__name__) for one, why in channel.ended.lost] == [(delivery, error)]
    assert channel.calls.provider_state().calls == 0 and channel.calls.under_way() == []
    channel.admission.release(places - 1)
    assert await asyncio.wait_for(channel.admission.take(1_000), 1) == places
    (line,) = [vars(one) for one in caplog.records if vars(one).get("action") == "call.lost"]
    assert (line["levelno"], line["delivery_id"], line["error"]) == (
        logging.ERROR,
        delivery.message.delivery_id,
        error,
    )
    assert delivery.message.to not in str(line) and unhandled == []
    assert channel.order.providers[0].limit(time.monotonic()) == 8, "the provider has not failed"


async def test_a_message_whose_text_cannot_be_made_stops_no_other(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel, made = Channel(), OutgoingMessages.of
    await channel.admission.take(2)
    broken, fine = a_delivery(), a_delivery()

    def of(self: OutgoingMessages, delivery: Delivery, provider: str) -> Any:
        if delivery is broken:
            raise KeyError(delivery.message.to)
        return made(self, delivery, provider)

    monkeypatch.setattr(OutgoingMessages, "of", of)
    channel.calls.add([broken, fine])
    await channel.all_ended(2)
    assert sorted((one.outcome.value, one.begun) for one in channel.ended.results) == [
        (ProviderOutcome.ACCEPTED.value, True),
        (ProviderOutcome.RETRY.value, False),
    ]
    assert len(channel.one.calls) == 1
    (line,) = [vars(one) for one in caplog.records if vars(one).get("action") == "render.defect"]
    assert line["error"] == "KeyError" and broken.message.to not in str(line)


async def test_texts_that_cannot_be_made_are_no_failures_of_the_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    def of(self: OutgoingMessages, delivery: Delivery, provider: str) -> Any:
        raise KeyError

    channel = Channel()
    await channel.admission.take(MIN_FAILURES)
    monkeypatch.setattr(OutgoingMessages, "of", of)
    channel.calls.add([a_delivery() for _ in range(MIN_FAILURES)])
    await channel.all_ended(MIN_FAILURES)
    assert channel.order.providers[0].limit(time.monotonic()) == 8
