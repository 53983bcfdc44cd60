"""People with several devices, on real replica sets: what is called again, what is removed, what is kept of each."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from notify_streams.delivery.attempts import fold
from notify_streams.delivery.pauses import ProviderPauses
from notify_streams.delivery.providers import Outgoing, ProviderOutcome, ProviderResult
from notify_streams.erasure.history import History
from notify_streams.erasure.store import OpenErasure
from notify_streams.preferences.choices import in_whole_ms
from notify_streams.records.devices import Device, token_sha
from notify_streams.records.outcomes import Reason
from notify_streams.stores.mongo import ATTEMPTS
from tests.integration.delivery.delivery_fixtures import BUCKET, Check, DeliveryEnvironment, EventTopics
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
        #: The tokens whose calls wait until `answer` is set.
        self.slow: set[str] = set()
        self.answer = asyncio.Event()

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def send(self, message: Outgoing) -> ProviderResult:
        self.calls.append((message.to, message.attempt))
        outcome = (self.outcomes.get(message.to) or [ProviderOutcome.ACCEPTED]).pop(0)
        if message.to in self.slow:
            await self.answer.wait()
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


@pytest.mark.parametrize("end", [ProviderOutcome.ACCEPTED, ProviderOutcome.DEAD_TOKEN, ProviderOutcome.REJECTED])
async def test_what_one_device_took_is_tried_again_for_the_other_alone_and_is_sent(
    env: DeliveryEnvironment, end: ProviderOutcome
) -> None:
    provider, topics = Provider(busy=[ProviderOutcome.RETRY, end]), EventTopics()
    async with env.engine(provider, topics=topics) as engine:
        await engine.deliver(await env.notify("t", devices=(Device("phone"), DEVICES[1])))
        await until(partial(env.is_in, "sent"))
        await until(lambda: topics.events)
        assert [token for _, _, token, _ in engine.dead_addresses] == ["busy"] * (end is ProviderOutcome.DEAD_TOKEN)
    assert provider.calls == [("phone", 1), ("busy", 1), ("busy", 2)]
    phone, busy = token_sha("phone"), token_sha("busy")
    first, second = await env.history()
    assert (first["state"], second["state"], second["reason"]) == ("retrying", "sent", None)
    assert answers(first) == [(phone, "fcm", "accepted"), (busy, "apns", "retry")]
    assert answers(second) == [(busy, "apns", end.value)]
    assert "reason" not in await env.state() and topics.states() == [("t", "sent", None, 2)]
    assert await env.counts() == {"taken": 1, "fresh": 1, "retrying": 1, "resolved_sent": 1}
    assert await env.books_close() and not await env.timers()


async def test_what_one_device_took_is_sent_if_the_person_opts_out_before_the_other_is_called(
    env: DeliveryEnvironment,
) -> None:
    check, provider = Check(), Provider(busy=[ProviderOutcome.RETRY] * 3)
    async with env.engine(provider, check, pace=0.05) as engine:
        await engine.deliver(await env.notify("t", devices=(Device("phone"), DEVICES[1])))
        check.refused["t"] = Reason.OPTED_OUT
        await until(partial(env.is_in, "sent"))
    last = (await env.history())[-1]
    assert (last["state"], last["reason"], last["code"]) == ("sent", None, "opted_out")
    assert [token for token, _ in provider.calls].count("phone") == 1 and await env.books_close()


async def test_what_one_device_took_supersedes_an_older_message_while_it_is_retried_for_another(
    env: DeliveryEnvironment,
) -> None:
    now = in_whole_ms(datetime.now(UTC))
    before = now - timedelta(seconds=5)
    old = await env.notify("old", collapse_key="c", now=before, devices=(Device("tablet", "apns"),))
    new = await env.notify("t", collapse_key="c", now=now, devices=(Device("phone"), DEVICES[1]))
    retry = ProviderOutcome.RETRY
    async with env.engine(Provider(tablet=[retry], busy=[retry] * 100), pace=0.05) as engine:
        await engine.deliver(old)
        await engine.deliver(new)
        await until(partial(env.is_in, "suppressed", "old"))
        assert await env.is_in("retrying")
    assert (await env.state("old"))["reason"] == "superseded"


async def test_what_one_device_took_is_known_after_a_pause_of_its_category(env: DeliveryEnvironment) -> None:
    pauses, check = ProviderPauses(env.shards, 5.0), Check()
    provider = Provider(busy=[ProviderOutcome.RETRY, ProviderOutcome.DEAD_TOKEN])
    async with env.engine(provider, check, pace=0.0002) as engine:

        async def pause() -> None:
            """Between the first attempt and the second."""
            if provider.calls:
                check.before = None
                await pauses.pause("push:payments")
                engine.engine._calls.paused_categories.update(["push:payments"])

        async def is_put_off() -> bool:
            return "category paused" in [one["code"] for one in await env.history()]

        check.before = pause
        await engine.deliver(await env.notify("t", devices=(Device("phone"), DEVICES[1])))
        await until(is_put_off)
        await pauses.resume("push:payments")
        await until(partial(env.is_in, "sent"))
    assert (await env.history())[-1]["code"] == "dead_token"
    assert [token for token, _ in provider.calls] == ["phone", "busy", "busy"]
    assert await env.books_close()


@pytest.mark.parametrize("end", [ProviderOutcome.ACCEPTED, ProviderOutcome.DEAD_TOKEN])
async def test_a_late_answer_leaves_the_timer_for_the_devices_that_are_to_be_called_again(
    env: DeliveryEnvironment, end: ProviderOutcome
) -> None:
    provider, topics = Provider(busy=[ProviderOutcome.RETRY, end]), EventTopics()
    provider.slow.add("busy")
    async with env.engine(provider, pace=0.2, call_timeout_s=2.0, topics=topics) as engine:
        await engine.deliver(await env.notify("t", devices=(Device("phone"), DEVICES[1])))
        assert await env.is_in("retrying"), "it is settled before its answer"
        provider.answer.set()
        await until(partial(env.is_in, "sent"))
        await until(lambda: topics.events)
    assert provider.calls == [("phone", 1), ("busy", 1), ("busy", 2)]
    assert [(one["kind"], one["state"]) for one in await env.history()] == [
        ("call", "retrying"),
        ("answer", "retrying"),
        ("call", "sent"),
    ]
    assert topics.states() == [("t", "sent", None, 2)]
    assert await env.counts() == {"taken": 1, "fresh": 1, "retrying": 1, "resolved_sent": 1}
    assert await env.books_close() and not await env.timers()


async def test_what_one_device_took_is_sent_if_the_person_is_erased_before_the_other_is_called(
    env: DeliveryEnvironment,
) -> None:
    """The hashes of the devices are removed, and with them what each answered."""
    person = OpenErasure("person:1f", "u-42", BUCKET, datetime(2026, 11, 28, tzinfo=UTC), frozenset())

    async def note(found: int) -> None:
        assert found == 1

    async with env.engine(Provider(busy=[ProviderOutcome.RETRY]), pace=10.0) as engine:
        await engine.deliver(await env.notify("t", devices=(Device("phone"), DEVICES[1])))
        history = History(env.settings, env.shards, EventTopics())
        await history.timers(person, note)
        await history.notifications(person, note)
        assert [(one["state"], one["code"]) for one in (await env.history())[1:]] == [("sent", "erased")]
        assert not await env.timers() and await env.books_close()
    (status,) = fold(await env.shards.collection(ATTEMPTS, BUCKET).find().to_list()).values()
    assert status.was_accepted
