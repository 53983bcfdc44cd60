"""With the real clients: SNS sends the messages while Twilio cannot be called, and Twilio again afterwards."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest

from notify_streams.delivery.admission import Admission
from notify_streams.delivery.breaker import MIN_FAILURES
from notify_streams.delivery.calls import ProviderCalls
from notify_streams.delivery.provider_order import configured_order
from notify_streams.delivery.providers import ProviderOutcome, ProviderResult
from notify_streams.secret import Secret
from notify_streams.settings_providers import ProviderSettings
from tests.builders import categories, templates
from tests.contract.providers.aws_server import KEY_ID, REGION, SECRET, accepted, response
from tests.contract.providers.scripted_server import Peer, serve
from tests.unit.delivery.test_failover import Ended, Paused, a_delivery

SENT = response(201, b'{"sid":"SM1","status":"queued","error_code":null}', "Content-Type: application/json")
UNAVAILABLE = response(503, b"<html></html>", "Content-Type: text/html")


class Sms:
    """The SMS of a worker with Twilio, then SNS."""

    def __init__(self, twilio: int, sns: int) -> None:
        settings = ProviderSettings(
            twilio=f"http://127.0.0.1:{twilio}",
            sms_failover="sns",
            aws_region=REGION,
            aws_endpoint=f"http://127.0.0.1:{sns}",
            aws_access_key_id=Secret(KEY_ID),
            aws_secret_access_key=Secret(SECRET),
        )
        self.order, _ = configured_order(settings, "sms", "sms", start_within_s=5.0, warm_connections=0)
        self.admission, self.ended = Admission(self.order), Ended()
        pauses: Any = Paused()
        self.calls = ProviderCalls(
            "standard", "sms", self.order, categories(), templates(), self.admission, pauses, self.ended
        )

    async def send(self) -> ProviderResult:
        await self.admission.take(1)
        self.calls.add([a_delivery()])
        before = len(self.ended.results)
        async with asyncio.timeout(10):
            while len(self.ended.results) == before:
                await asyncio.sleep(0.001)
        return self.ended.results[-1]

    async def send_until(self, provider: str) -> list[ProviderResult]:
        """The results up to the first message that this provider accepted."""
        found: list[ProviderResult] = []
        async with asyncio.timeout(20):
            while not found or (found[-1].provider, found[-1].outcome) != (provider, ProviderOutcome.ACCEPTED):
                found.append(await self.send())
                await asyncio.sleep(0.02)
        return found


@pytest.mark.parametrize("outage", ["503", "no connection"])
async def test_the_second_provider_takes_over_and_the_first_comes_back(outage: str) -> None:
    answers = [UNAVAILABLE]

    async def twilio(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(answers[-1])

    async def sns(peer: Peer) -> None:
        while True:
            await peer.respond(accepted("sns"))

    async with AsyncExitStack() as stack:
        second = await stack.enter_async_context(serve(sns))
        async with serve(twilio) as first:
            port = first.port
        if outage == "503":
            await stack.enter_async_context(serve(twilio, port=port))
        sms = Sms(port, second.port)
        await sms.calls.start()
        stack.push_async_callback(sms.calls.close)
        *failed, taken = await sms.send_until("sns")
        assert len(failed) == MIN_FAILURES and taken.outcome is ProviderOutcome.ACCEPTED
        assert {(one.provider, one.maybe_accepted) for one in failed} == {("twilio", outage == "503")}
        answers.append(SENT)
        if outage != "503":
            await stack.enter_async_context(serve(twilio, port=port))
        between = await sms.send_until("twilio")
        assert {one.provider for one in between[:-1]} <= {"sns"} and len(second.requests) == len(between)
