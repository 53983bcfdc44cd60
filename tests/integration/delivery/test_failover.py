"""An outage of a channel's first provider: the next one takes over, and the first comes back."""

import asyncio
from functools import partial
from typing import Any

import msgspec

from notify_streams.delivery.providers import Outgoing, ProviderResult
from tests.integration.delivery.delivery_fixtures import ACCEPTED, NOT_BEGUN, UNSURE, DeliveryEnvironment, Provider
from tests.waiting import until

BATCH = [f"t{number}" for number in range(20)]


class Named(Provider):
    """Ends each call as `result`."""

    def __init__(self, name: str, result: ProviderResult = ACCEPTED) -> None:
        super().__init__()
        self.name = name
        self.result = result

    async def send(self, message: Outgoing) -> ProviderResult:
        await super().send(message)
        return msgspec.structs.replace(self.result, provider=self.name)


async def attempts(env: DeliveryEnvironment, trigger: str) -> list[tuple[str, str]]:
    return [(one["provider"], one["state"]) for one in await env.history(trigger, "sms")]


async def all_sent(env: DeliveryEnvironment, triggers: list[str]) -> bool:
    return all([await env.is_in("sent", one, "sms") for one in triggers])


async def send_until_called(env: DeliveryEnvironment, engine: Any, provider: Named) -> None:
    """Send messages until the provider has one more."""
    before, number = len(provider.calls), 0
    async with asyncio.timeout(20):
        while len(provider.calls) == before:
            number += 1
            await engine.deliver(await env.notify(f"more{number}", channel="sms"))
            await asyncio.sleep(0.05)


async def test_what_the_first_did_not_take_for_certain_the_next_delivers(env: DeliveryEnvironment) -> None:
    first, second = Named("one", NOT_BEGUN), Named("two")
    # Without a second provider the next attempt would be due after 20 s.
    async with env.engine(first, None, "sms", failover=[second], pace=10.0) as engine:
        await engine.deliver(await env.notify(*BATCH, channel="sms"))
        await until(partial(all_sent, env, BATCH))
        assert await attempts(env, "t0") == [("one", "retrying"), ("two", "sent")], "each attempt has its provider"
        first.result = ACCEPTED
        await send_until_called(env, engine, first)
        await engine.deliver(await env.notify("last", channel="sms"))
        await until(partial(all_sent, env, ["last"]))
        assert await env.books_close("sms")
    assert not any(call.possible_duplicate for call in (*first.calls, *second.calls))
    assert await env.books_close("sms")


async def test_what_the_first_may_have_taken_stays_with_it(env: DeliveryEnvironment) -> None:
    first, second = Named("one", UNSURE), Named("two")
    async with env.engine(first, None, "sms", failover=[second]) as engine:
        await engine.deliver(await env.notify(*BATCH, channel="sms"))
        await send_until_called(env, engine, second)
        first.result = ACCEPTED
        await until(partial(all_sent, env, BATCH))
    again = [call for call in first.calls if call.attempt > 1]
    assert again and all(call.possible_duplicate for call in again)
    assert not set(BATCH).intersection(second.ids()) and await env.books_close("sms")
