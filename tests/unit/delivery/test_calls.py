"""What a provider is called with: the text in the person's locale, and the version of the template for the attempt."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import socket
import time
from collections import Counter
from typing import Any

import msgspec
import pytest
from cryptography.fernet import Fernet

from notify_streams import tasks
from notify_streams.delivery import provider_states
from notify_streams.delivery.admission import Admission
from notify_streams.delivery.breaker import MIN_FAILURES
from notify_streams.delivery.budget import Budget
from notify_streams.delivery.calls import ProviderCalls
from notify_streams.delivery.delivery_ledger import OwnedLedger, Token
from notify_streams.delivery.mail_links import MailLinks, mail_links_of
from notify_streams.delivery.partition import Delivery, Partition
from notify_streams.delivery.provider_order import CalledProvider, ProviderOrder
from notify_streams.delivery.providers import Outgoing, ProviderOutcome, ProviderResult
from notify_streams.delivery.suspensions import Suspensions
from notify_streams.records.channel_message import ChannelMessage
from notify_streams.records.link_token import Link, LinkTokens
from notify_streams.secret import Secret
from notify_streams.settings import Settings
from notify_streams.settings_public import PublicSettings
from notify_streams.web.health import not_called
from tests.builders import AClient, a_message, categories, templates
from tests.waiting import until

KEY, OTHER_KEY = (Fernet.generate_key().decode() for _ in range(2))
ACCEPTED = ProviderResult(outcome=ProviderOutcome.ACCEPTED, provider="fake")
NOT_READY = ProviderResult(
    outcome=ProviderOutcome.RETRY, provider="fake", detail="NoConnection", begun=False, not_ready=True
)
REFUSED = ProviderResult(
    outcome=ProviderOutcome.RETRY, provider="fake", detail="HTTP 401, code 20003", code="20003", credential_refused=True
)


class Handler:
    """Keeps how calls ended."""

    def __init__(self) -> None:
        self.ended: asyncio.Queue[tuple[Delivery, ProviderResult]] = asyncio.Queue()
        self.late: asyncio.Queue[Delivery] = asyncio.Queue()
        #: How often calls were to begin.
        self.asked = 0

    def call_ended(self, delivery: Delivery, result: ProviderResult) -> None:
        self.ended.put_nowait((delivery, result))

    def call_lost(self, delivery: Delivery, error: Exception) -> None:
        raise error

    def call_is_late(self, delivery: Delivery, waited_s: float) -> None:
        self.late.put_nowait(delivery)

    def check_again(self, partition: Partition, deliveries: Any) -> None: ...

    def shards_behind(self) -> list[int]:
        self.asked += 1
        return []

    def leave(self, delivery: Delivery) -> None: ...


class NoPauses:
    async def read(self) -> dict[str, Any]:
        return {}


async def called(message: ChannelMessage) -> tuple[list[Outgoing], Delivery, ProviderResult]:
    """The calls that one message makes, and how it ends."""
    provider, handler = AClient(), Handler()
    delivery, result = await end_of(message, calls_to(provider, handler), handler)
    return provider.calls, delivery, result


def calls_to(
    provider: AClient | CalledProvider,
    handler: Handler,
    links: MailLinks | None = None,
    suspensions: Suspensions | None = None,
) -> ProviderCalls:
    order = ProviderOrder(
        [provider if isinstance(provider, CalledProvider) else CalledProvider(provider, Budget(None, 0.0))]
    )
    pauses: Any = NoPauses()
    return ProviderCalls(
        "standard",
        "push",
        order,
        categories(),
        templates(),
        Admission(order),
        pauses,
        handler,
        mail_links=links,
        suspensions=suspensions,
    )


async def test_only_what_a_person_can_turn_off_has_a_link_to_do_so() -> None:
    settings = Settings(
        region="eu",
        kafka="none",
        redis="none",
        shards=("none",),
        public=PublicSettings(urls={"eu": "https://eu.example.org/"}, link_keys=Secret(f"{KEY},{OTHER_KEY}")),
    )
    links = mail_links_of(settings, categories())
    for category, locale, expected in (("marketing", "ar", "ar"), ("payments", None, "en")):
        provider, handler = AClient(), Handler()
        message = a_message(channel="email", category=category, locale=locale, template=None, title="t", body="b")
        await end_of(message, calls_to(provider, handler, links), handler)
        (call,) = provider.calls
        prefix, _, token = (call.unsubscribe or "").rpartition("/")
        assert prefix == "https://eu.example.org/unsubscribe"
        assert LinkTokens([KEY]).read(token) == Link(message.user_id, category, "email", expected)
    provider, handler = AClient(), Handler()
    message = a_message(channel="email", category="security", template=None, title="t", body="b")
    await end_of(message, calls_to(provider, handler, links), handler)
    assert provider.calls[0].unsubscribe is None
    for off in (PublicSettings(urls=settings.public.urls), PublicSettings(link_keys=settings.public.link_keys)):
        assert mail_links_of(msgspec.structs.replace(settings, public=off), categories()) is None


def a_delivery(message: ChannelMessage, good_for_s: float = 60.0) -> Delivery:
    now = time.monotonic()
    partition = Partition(
        OwnedLedger(partition=3, next_offset=0, claimed_to=0, last_flush="", seen={}), Token(1), 0, now
    )
    return Delivery(partition, b"key", message, b"", None, check_until=now + good_for_s)


async def end_of(message: ChannelMessage, calls: ProviderCalls, handler: Handler) -> tuple[Delivery, ProviderResult]:
    """How the call for one message ends."""
    calls.add([a_delivery(message)])
    return await asyncio.wait_for(handler.ended.get(), 5)


async def test_no_call_begins_while_the_writes_of_its_partition_are_refused() -> None:
    class Again(Handler):
        checked = 0

        def check_again(self, partition: Partition, deliveries: Any) -> None:
            self.checked += len(deliveries)

    provider, handler = AClient(), Again()
    delivery = a_delivery(a_message())
    delivery.partition.blocked = True
    calls_to(provider, handler).add([delivery])
    await asyncio.sleep(0)
    assert handler.checked == 1 and not provider.calls, "it waits outside, without a place"


async def test_calls_that_end_together_make_room_for_calls_that_begin_together() -> None:
    provider, handler = AClient(max_in_flight=4), Handler()
    provider.gate = asyncio.Event()
    calls = calls_to(provider, handler)
    calls.add([a_delivery(a_message()) for _ in range(8)])
    await until(lambda: len(provider.calls) == 4)
    answered, provider.gate = provider.gate, asyncio.Event()
    asked = handler.asked
    answered.set()
    await until(lambda: len(provider.calls) == 8)
    assert handler.asked == asked + 1
    provider.gate.set()
    for _ in range(8):
        await asyncio.wait_for(handler.ended.get(), 5)


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


async def test_a_credential_that_is_refused_is_said_once_until_it_is_taken(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    outage = ProviderResult(outcome=ProviderOutcome.RETRY, provider="fake", detail="HTTP 503")
    handler = Handler()
    calls = calls_to(AClient("fake", REFUSED, REFUSED, outage, ACCEPTED, ACCEPTED), handler)
    problems, waiting = [], []
    for _ in range(5):
        await end_of(a_message(), calls, handler)
        problems.append(calls.provider_state().credential_problems.get("fake"))
        waiting.append(not_called(calls.provider_state()))
    assert problems == [*["HTTP 401, code 20003"] * 3, None, None]
    assert waiting[0] == [
        "calls to fake fail because of the credential (HTTP 401, code 20003): `notify-streams providers check` says what is wrong"
    ]
    assert waiting[-1] == []
    lines = [vars(one) for one in caplog.records if vars(one).get("action") == "provider.credential"]
    assert [(one["levelname"], one.get("code")) for one in lines] == [("ERROR", "HTTP 401, code 20003"), ("INFO", None)]


async def test_a_platform_that_is_refused_is_said_while_messages_to_others_are_taken(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An operator must not see green while each message to one platform waits until it expires."""
    caplog.set_level(logging.INFO)
    refused = ProviderResult(
        outcome=ProviderOutcome.RETRY,
        provider="fake",
        detail="HTTP 401, code THIRD_PARTY_AUTH_ERROR",
        one_server=True,
        platform_refused=True,
    )
    handler = Handler()
    calls = calls_to(AClient("fake", refused, ACCEPTED, refused, ACCEPTED), handler)
    for _ in range(4):
        await end_of(a_message(), calls, handler)
        state = calls.provider_state()
        assert state.platform_problems == {"fake": "HTTP 401, code THIRD_PARTY_AUTH_ERROR"}
        assert (state.credential_problems, not_called(state)) == ({}, []), "messages to others are taken"
    monkeypatch.setattr(provider_states, "_PLATFORM_REFUSED_S", 0.0)
    calls._states.log_changes()
    assert calls.provider_state().platform_problems == {}
    lines = [vars(one) for one in caplog.records if str(vars(one).get("action")).startswith("provider.platform")]
    assert [one["levelname"] for one in lines] == ["ERROR", "INFO"]


@pytest.mark.parametrize(("one_server", "state"), [(True, "closed"), (False, "open")])
async def test_a_server_that_a_recipient_chose_stops_no_other_call(one_server: bool, state: str) -> None:
    wait = ProviderResult(
        outcome=ProviderOutcome.RETRY, provider="fake", detail="HTTP 429", retry_after_s=1e9, one_server=one_server
    )
    handler = Handler()
    calls = calls_to(AClient("fake", wait, wait), handler)
    for _ in range(2):
        await end_of(a_message(), calls, handler)
    assert calls.provider_state().state == state


class CheckedAgain(Handler):
    """Checks again, as the engine does."""

    def __init__(self) -> None:
        super().__init__()
        self.checks = 0
        self.calls: ProviderCalls | None = None

    def check_again(self, partition: Partition, deliveries: Any) -> None:
        self.checks += 1
        for delivery in deliveries:
            delivery.check_until = delivery.partition.proved_at = time.monotonic() + 0.02
        assert self.calls is not None
        asyncio.get_running_loop().call_soon(self.calls.add, deliveries)


class SlowToConnect(AClient):
    """Is ready for each message after so many calls.

    Calls under way end together, however slow the machine is.
    """

    def __init__(self, after: int) -> None:
        super().__init__("fake", max_in_flight=8)
        self._after = after
        self._before: Counter[str] = Counter()
        self._end: asyncio.Task[None] | None = None

    async def send(self, message: Outgoing) -> ProviderResult:
        if self._end is None or self._end.done():
            self._end = asyncio.create_task(asyncio.sleep(0.01))
        await self._end
        self._before[message.delivery_id] += 1
        return NOT_READY if self._before[message.delivery_id] <= self._after else await super().send(message)


@pytest.mark.parametrize("good_for_s", [10.0, 0.02], ids=["the check stays good", "the check must be repeated"])
async def test_a_call_waits_for_a_provider_that_is_not_connected_yet(good_for_s: float) -> None:
    handler, budget = CheckedAgain(), Budget(1.0, 0.0)
    provider = CalledProvider(SlowToConnect(10), budget)
    calls = handler.calls = calls_to(provider, handler)
    provider.reserved = 8
    first = a_delivery(a_message(), good_for_s)
    messages = [a_message(delivery_id=f"delivery-{number}") for number in range(7)]
    calls.add([first, *(dataclasses.replace(first, message=message) for message in messages)])
    ends = [await asyncio.wait_for(handler.ended.get(), 5) for _ in range(8)]
    assert {result.outcome for _, result in ends} == {ProviderOutcome.ACCEPTED}
    assert (1 <= handler.checks <= 12) is (good_for_s < 1.0), "those that end together are checked together"
    assert (provider.calls, provider.reserved, budget.available(0.0)) == (0, 0, 0.0), "paid once"
    assert calls.provider_state().state == "closed"


async def test_a_provider_that_is_never_ready_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("notify_streams.delivery.calls._NOT_READY_S", 0.1)
    handler = CheckedAgain()
    calls = handler.calls = calls_to(SlowToConnect(1_000_000), handler)
    calls.add([a_delivery(a_message(), 0.02)])
    _, result = await asyncio.wait_for(handler.ended.get(), 5)
    assert result.not_ready


class OverASocket(AClient):
    """Its answer comes over a socket, and is read in several steps."""

    def __init__(self, answers: socket.socket) -> None:
        super().__init__()
        self._answers = answers

    async def send(self, message: Outgoing) -> ProviderResult:
        self.calls.append(message)
        await asyncio.get_running_loop().sock_recv(self._answers, 1)
        for _ in range(5):
            await asyncio.sleep(0)
        return ACCEPTED


@pytest.mark.parametrize(("name", "is_stopped"), [("web_push", False), ("fcm", True)])
async def test_push_services_that_do_not_answer_stop_no_other(name: str, is_stopped: bool) -> None:
    """A person's browser names the server; one that holds each call for some seconds must not hold up the messages to others."""
    client = AClient(name)
    client.gate = asyncio.Event()
    provider = CalledProvider(client, Budget(None, 0.0))
    calls = calls_to(provider, Handler())
    watching = asyncio.create_task(calls.watch())
    deliveries = [a_delivery(a_message()) for _ in range(MIN_FAILURES)]
    calls.add(deliveries)
    await until(lambda: all(one.is_late for one in deliveries), within_s=20.0)
    assert provider.is_closed(time.monotonic()) is not is_stopped
    await tasks.stop([watching])
    await calls.stop()


@pytest.mark.parametrize(("scans_s", "is_stopped"), [(3.0, False), (10.5, True)])
async def test_a_mail_server_that_scans_a_mail_for_seconds_has_not_failed(scans_s: float, is_stopped: bool) -> None:
    """It took everything but the content, so it answers. One call in 10 s was left of a server that scans for 6 s."""
    client = AClient("smtp")
    client.gate = asyncio.Event()
    provider, handler = CalledProvider(client, Budget(None, 0.0)), Handler()
    calls = calls_to(provider, handler)
    watching = asyncio.create_task(calls.watch())
    mail = a_message(channel="email", template=None, title="t", body="b")
    deliveries = [a_delivery(mail) for _ in range(MIN_FAILURES)]
    calls.add(deliveries)
    await until(lambda: len(client.calls) == MIN_FAILURES)
    for call, delivery in zip(client.calls, deliveries, strict=True):
        assert call.on_content is not None
        call.on_content()
        delivery.began -= scans_s
        delivery.content_began -= scans_s
    for _ in deliveries:
        await asyncio.wait_for(handler.late.get(), 5)
    assert [one.is_late for one in deliveries] == [is_stopped] * MIN_FAILURES
    assert provider.is_closed(time.monotonic()) is not is_stopped
    await tasks.stop([watching])
    await calls.stop()


@pytest.mark.parametrize("answered", [True, False])
async def test_an_answer_that_came_while_the_event_loop_was_busy_is_read_before_its_call_is_late(
    answered: bool,
) -> None:
    here, there = socket.socketpair()
    with here, there:
        here.setblocking(False)
        handler, client = Handler(), OverASocket(here)
        calls = calls_to(client, handler)
        watching = asyncio.create_task(calls.watch())
        calls.add([a_delivery(a_message())])
        await until(lambda: bool(client.calls))
        await asyncio.sleep(0.05)  # `watch` sleeps by now
        if answered:
            there.send(b"a")
        time.sleep(1.3)  # noqa: ASYNC251  # the event loop is busy
        first = asyncio.create_task(handler.ended.get()), asyncio.create_task(handler.late.get())
        await asyncio.wait(first, timeout=5, return_when=asyncio.FIRST_COMPLETED)
        assert [one.done() for one in first] == [answered, not answered]
        await tasks.stop([watching, *first])
        await calls.stop()
