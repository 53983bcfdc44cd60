"""Web Push against a service that decrypts each message and verifies who sent it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

from devtools.sandbox.keys import SUBJECT, pem
from notify_streams.delivery.providers import (
    CallLimit,
    Outgoing,
    Provider,
    ProviderOutcome,
    ProviderResult,
    provider_for,
)
from notify_streams.delivery.providers.es256 import Es256Key
from notify_streams.delivery.providers.http_client import HttpClient
from notify_streams.delivery.providers.http_responses import HttpResponse, NoResponse
from notify_streams.delivery.providers.push_choice import PushChoice
from notify_streams.delivery.providers.web_push import VapidTokens
from notify_streams.followed_files import BadCredential
from notify_streams.records.addresses import is_push_token
from notify_streams.records.base64url import base64url
from notify_streams.secret import Secret
from tests.contract.providers.push_service import Message, PushService, push_service
from tests.contract.providers.scripted_server import Peer, respond_always, serve


@pytest.fixture
async def service(host_certificate: Path) -> AsyncIterator[PushService]:
    async with push_service(host_certificate) as one:
        yield one


@asynccontextmanager
async def started(service: PushService, **but: Any) -> AsyncIterator[Provider]:
    provider = provider_for("push", service.config(**but))
    await provider.start()
    try:
        yield provider
    finally:
        await provider.close()


def push(to: str, **but: Any) -> Outgoing:
    given = {"delivery_id": "d.push", "notification_id": "n", "channel": "push", "to": to, "body": "hi"}
    return Outgoing(**given | but)


async def sent(service: PushService, message: Outgoing, **but: Any) -> ProviderResult:
    async with started(service, **but) as provider:
        return await provider.send(message)


async def test_only_the_browser_can_read_the_message(service: PushService) -> None:
    browser = service.browser
    message = push(
        browser.subscription(service.endpoint("me")),
        title="Payment received",
        critical=True,
        collapse_key="balance",
        expires_at_ms=int(time.time() + 100) * 1000,
        data={"amount": 12},
    )
    result = await sent(service, message)
    assert (result.outcome, result.provider, service.faults) == (ProviderOutcome.ACCEPTED, "web_push", [])
    (received,) = service.received
    assert received.path == "/push/me"
    assert orjson.loads(browser.decrypt(received.body)) == {
        "notification": {"title": "Payment received", "body": "hi"},
        "data": {
            "amount": 12,
            "notify_delivery_id": "d.push",
            "notify_notification_id": "n",
            "notify_attempt": "1",
            "notify_critical": "1",
        },
    }
    assert b"Payment" not in received.body
    assert received.headers["urgency"] == "high"
    assert 98 <= int(received.headers["ttl"]) <= 100
    assert len(received.headers["topic"]) == 32


async def test_a_plain_message_is_normal_and_kept_for_four_weeks(service: PushService) -> None:
    browser = service.browser
    await sent(service, push(browser.subscription(service.endpoint())))
    headers = service.received[0].headers
    assert (headers["urgency"], headers["ttl"]) == ("normal", str(4 * 7 * 24 * 3600))
    assert "topic" not in headers


async def test_each_message_has_a_key_of_its_own_and_a_service_one_token_an_hour(service: PushService) -> None:
    to = service.browser.subscription(service.endpoint())
    async with started(service) as provider:
        for _ in range(2):
            assert (await provider.send(push(to))).outcome is ProviderOutcome.ACCEPTED
    first, second = service.received
    assert first.body[:86] != second.body[:86]
    assert first.headers["authorization"] == second.headers["authorization"]
    assert service.server.connections == 1


def test_a_token_is_renewed_after_an_hour_and_belongs_to_an_origin() -> None:
    tokens = VapidTokens(Es256Key(pem(generate_private_key(SECP256R1()))), SUBJECT)
    first = tokens.authorization("https://push.example/a", 1e6)
    assert tokens.authorization("https://PUSH.example:443/b", 1e6 + 3599) == first
    assert tokens.authorization("https://push.example:444/a", 1e6) != first
    assert tokens.authorization("https://push.example/a", 1e6 + 3600) != first


async def test_the_key_may_be_32_bytes_in_base64url(service: PushService) -> None:
    number = service.server_key.private_numbers().private_value.to_bytes(32, "big")
    to = service.browser.subscription(service.endpoint())
    result = await sent(service, push(to), web_push_key=Secret(base64url(number)))
    assert result.outcome is ProviderOutcome.ACCEPTED


async def test_the_largest_message_is_taken_and_a_larger_one_not_sent(service: PushService) -> None:
    browser = service.browser
    to = browser.subscription(service.endpoint())
    await sent(service, push(to, body=""))
    empty = len(browser.decrypt(service.received[0].body))
    assert (await sent(service, push(to, body="x" * (3993 - empty)))).outcome is ProviderOutcome.ACCEPTED
    assert len(service.received[1].body) == 4096
    result = await sent(service, push(to, body="x" * (3994 - empty)))
    assert (result.outcome, result.begun, len(service.received)) == (ProviderOutcome.TOO_LARGE, False, 2)


STATUSES = [
    (200, ProviderOutcome.ACCEPTED),
    (201, ProviderOutcome.ACCEPTED),
    (202, ProviderOutcome.ACCEPTED),
    (301, ProviderOutcome.RETRY),
    (400, ProviderOutcome.REJECTED),
    (401, ProviderOutcome.RETRY),
    (403, ProviderOutcome.RETRY),
    (404, ProviderOutcome.DEAD_TOKEN),
    (406, ProviderOutcome.RETRY),
    (410, ProviderOutcome.DEAD_TOKEN),
    (413, ProviderOutcome.TOO_LARGE),
    (429, ProviderOutcome.RETRY),
    (500, ProviderOutcome.RETRY),
    (503, ProviderOutcome.RETRY),
    (418, ProviderOutcome.RETRY),
]


async def test_each_status_has_its_outcome(service: PushService) -> None:
    to = service.browser.subscription(service.endpoint())
    for status, outcome in STATUSES:
        service.answer = f"HTTP/1.1 {status} X\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n".encode()
        result = await sent(service, push(to))
        assert result.outcome is outcome, status
        is_retry = outcome is ProviderOutcome.RETRY
        assert result.retry_after_s == (7.0 if is_retry else None)
        assert result.unknown_code == (status in (301, 418))
        assert (result.throttled, result.maybe_accepted) == (status in (406, 429), status >= 500)
        assert result.one_server is is_retry
        assert not result.credential_refused, "an endpoint comes from outside"
        assert "push/a" not in repr(result)


async def test_a_service_that_asks_to_wait_for_ever_stops_the_calls_to_itself_alone(service: PushService) -> None:
    async def wait_for_ever(peer: Peer, message: Message) -> None:
        is_bad = message.headers["host"].startswith("127.0.0.1")
        status = "429 X\r\nRetry-After: 999999999" if is_bad else "201 X"
        await peer.send(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())

    service.on_message = wait_for_ever
    bad, good = (service.browser.subscription(service.endpoint(host=host)) for host in ("127.0.0.1", "localhost"))
    async with started(service) as web_push:
        choice = PushChoice(Other(), {"web_push": (web_push, CallLimit("web_push", web_push.max_in_flight))})
        results = [await choice.send(push(bad, provider="web_push")) for _ in range(8)]
        assert {one.outcome for one in results} == {ProviderOutcome.RETRY} and all(one.one_server for one in results)
        assert 0 < len(service.received) < 8
        assert (await choice.send(push(good, provider="web_push"))).outcome is ProviderOutcome.ACCEPTED


class Other:
    """A default provider that is not called."""

    name = "fcm"
    max_in_flight = 8

    async def start(self) -> None: ...

    async def send(self, message: Outgoing) -> ProviderResult:
        raise AssertionError

    async def close(self) -> None: ...


@pytest.mark.parametrize("host", ["a..b", "a" * 64 + ".example"])
async def test_an_endpoint_whose_host_cannot_be_a_name_is_not_tried_again(service: PushService, host: str) -> None:
    result = await sent(service, push(service.browser.subscription(f"https://{host}/push")))
    assert (result.outcome, result.begun, host in repr(result)) == (ProviderOutcome.BAD_ADDRESS, False, False)


async def test_a_wrong_key_ends_no_delivery(service: PushService) -> None:
    to = service.browser.subscription(service.endpoint())
    result = await sent(service, push(to), web_push_key=Secret(pem(generate_private_key(SECP256R1()))))
    assert (result.outcome, result.detail, service.faults) == (
        ProviderOutcome.RETRY,
        "HTTP 403",
        ["403 the subscription belongs to another key"],
    )


async def test_without_an_answer_the_next_attempt_may_be_a_duplicate(service: PushService) -> None:
    service.answer = b""
    result = await sent(service, push(service.browser.subscription(service.endpoint())), timeout_s=1.5)
    assert (result.outcome, result.maybe_accepted, len(service.received)) == (ProviderOutcome.RETRY, True, 1)


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1", "127.1", "2130706433", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0"]
)
async def test_nothing_connects_to_a_private_address(service: PushService, host: str) -> None:
    to = service.browser.subscription(service.endpoint(host=host))
    result = await sent(service, push(to), web_push_private_hosts=False)
    assert (result.outcome, result.begun) == (ProviderOutcome.BAD_ADDRESS, False)
    assert host not in result.detail
    assert service.server.connections == 0


@pytest.mark.parametrize("to", ["token-1", "{}", "", "a" * 64])
async def test_what_is_no_subscription_is_not_sent(service: PushService, to: str) -> None:
    result = await sent(service, push(to))
    assert (result.outcome, result.begun) == (ProviderOutcome.BAD_ADDRESS, False)


async def test_a_key_beside_the_curve_is_not_sent(service: PushService) -> None:
    keys = {"p256dh": base64url(b"\x04" + b"\x01" * 64), "auth": base64url(b"x" * 16)}
    to = orjson.dumps({"endpoint": service.endpoint(), "keys": keys}).decode()
    assert is_push_token(to)
    result = await sent(service, push(to))
    assert (result.outcome, result.begun) == (ProviderOutcome.BAD_ADDRESS, False)


@pytest.mark.parametrize(
    ("but", "named"),
    [
        ({"web_push_key": None}, "web_push_key"),
        ({"web_push_subject": None}, "web_push_subject"),
        ({"web_push_key": Secret("secret")}, "web_push_key"),
        ({"web_push_subject": "ops@example.org"}, "web_push_subject"),
        ({"web_push_subject": "mailto:ops@localhost"}, "web_push_subject"),
        ({"web_push_subject": "mailto:ops@company.Invalid"}, "web_push_subject"),
        ({"web_push_subject": "https://localhost:8080/contact"}, "web_push_subject"),
    ],
)
def test_without_a_credential_there_is_no_provider(host_certificate: Path, but: dict[str, Any], named: str) -> None:
    service = PushService(generate_private_key(SECP256R1()), host_certificate)
    with pytest.raises(BadCredential, match=named) as error:
        provider_for("push", service.config(**but))
    assert "secret" not in str(error.value)


async def test_connections_to_servers_that_were_not_used_lately_are_closed(host_certificate: Path) -> None:
    config = PushService(generate_private_key(SECP256R1()), host_certificate).config()
    ok = HttpResponse(200, None, b"ok")
    client = HttpClient(config, max_servers=2)
    await client.start()
    async with (
        serve(respond_always, host_certificate) as first,
        serve(respond_always, host_certificate) as second,
        serve(respond_always, host_certificate) as third,
    ):
        urls = [f"https://localhost:{server.port}/" for server in (first, second, third)]
        for url in (urls[0], urls[1], urls[0], urls[2]):
            assert await client.post(url, {}, b"") == ok
        async with asyncio.timeout(5):
            while not second.ended:
                await asyncio.sleep(0.01)
        assert (first.ended, third.ended) == (0, 0)
        assert await client.post(urls[0], {}, b"") == ok
        assert (first.connections, second.connections, third.connections) == (1, 1, 1)
        await client.close()


async def test_connections_of_all_servers_together_are_bounded(host_certificate: Path) -> None:
    config = PushService(generate_private_key(SECP256R1()), host_certificate).config(max_in_flight=1)
    client = HttpClient(config, max_servers=8)
    await client.start()
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(serve(respond_always, host_certificate)) for _ in range(4)]
        for server in servers:
            assert await client.post(f"https://localhost:{server.port}/", {}, b"") == HttpResponse(200, None, b"ok")
        async with asyncio.timeout(5):
            while not servers[0].ended:
                await asyncio.sleep(0.01)
        assert [server.ended for server in servers] == [1, 0, 0, 0]
        await client.close()


async def test_a_server_too_many_gets_no_call_while_the_others_are_busy(host_certificate: Path) -> None:
    async def nothing(peer: Any) -> None:
        await peer.request()
        await peer.end()

    config = PushService(generate_private_key(SECP256R1()), host_certificate).config(timeout_s=1.0)
    client = HttpClient(config, max_servers=1)
    await client.start()
    async with serve(nothing, host_certificate) as busy, serve(respond_always, host_certificate) as other:
        call = asyncio.create_task(client.post(f"https://localhost:{busy.port}/", {}, b""))
        while not busy.requests:
            await asyncio.sleep(0.01)
        assert await client.post(f"https://localhost:{other.port}/", {}, b"") == NoResponse(
            "TooManyServers", begun=False
        )
        assert await call == NoResponse("TimeoutError", begun=True)
        assert await client.post(f"https://localhost:{other.port}/", {}, b"") == HttpResponse(200, None, b"ok")
        await client.close()
