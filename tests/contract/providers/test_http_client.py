"""The HTTP client against servers that behave in every way but the expected one, over plain sockets and TLS."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
import threading
import time
import warnings
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop

from notify_streams.delivery.providers import ProviderConfig
from notify_streams.delivery.providers.http.connection import Connection
from notify_streams.delivery.providers.http.connection_pool import MAX_OPENING
from notify_streams.delivery.providers.http.name_lookups import NameLookups
from notify_streams.delivery.providers.http_client import HttpClient
from notify_streams.delivery.providers.http_responses import HttpResponse, NoResponse
from tests.contract.providers.scripted_server import OK, Peer, Script, ScriptedServer, respond_always, serve

HEADERS = {"Authorization": "Bearer t", "Content-Type": "application/json"}
THE_OK = HttpResponse(200, None, b"ok")


class Calls:
    """A client, a server, and their URL."""

    def __init__(self, client: HttpClient, server: ScriptedServer, scheme: str) -> None:
        self.client = client
        self.server = server
        self.url = f"{scheme}://127.0.0.1:{server.port}/v1/send?a=b"

    async def post(self, body: bytes = b"{}") -> HttpResponse | NoResponse:
        async with asyncio.timeout(20):
            return await self.client.post(self.url, HEADERS, body)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                await asyncio.sleep(0.001)


def config_of(**but: Any) -> ProviderConfig:
    return ProviderConfig(
        **{"fcm": "", "twilio": "", "smtp": "", "timeout_s": 10.0, "start_within_s": 10.0, "ca_file": None, **but}
    )


CallsTo = Callable[..., Any]


@pytest.fixture
async def errors() -> AsyncIterator[list[dict[str, Any]]]:
    """What the event loop reports: errors of callbacks and tasks."""
    reported: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: reported.append(context))
    yield reported
    loop.set_exception_handler(None)


@pytest.fixture(params=["http", "https"])
def calls_to(request: pytest.FixtureRequest, host_certificate: Path) -> CallsTo:
    """Starts a server with a script, and a client for it."""
    tls = request.param == "https"

    @asynccontextmanager
    async def start(script: Script, **but: Any) -> AsyncIterator[Calls]:
        async with serve(script, host_certificate if tls else None) as server:
            client = HttpClient(config_of(ca_file=str(host_certificate) if tls else None, **but))
            await client.start()
            try:
                yield Calls(client, server, request.param)
            finally:
                await client.close()

    return start


async def test_a_request_is_sent_as_it_is(calls_to: CallsTo) -> None:
    async with calls_to(respond_always) as calls:
        assert await calls.post(b"body") == THE_OK
        ((_, request),) = calls.server.requests
        assert request == (
            b"POST /v1/send?a=b HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUser-Agent: notify-streams\r\n"
            b"Authorization: Bearer t\r\nContent-Type: application/json\r\nContent-Length: 4\r\n\r\nbody"
            % calls.server.port
        )


async def test_each_call_has_its_own_headers_and_url(calls_to: CallsTo) -> None:
    async with calls_to(respond_always) as calls:
        for url, token in ((calls.url, "a"), (calls.url, "b"), (calls.url + "&c=d", "b"), (calls.url, "a")):
            await calls.client.post(url, {"X-Token": token}, b"")
        seen = [(r.split(b" ")[1], r.split(b"X-Token: ")[1][:1]) for _, r in calls.server.requests]
        path = b"/v1/send?a=b"
        assert seen == [(path, b"a"), (path, b"b"), (path + b"&c=d", b"b"), (path, b"a")]
        assert calls.server.connections == 1


KEPT = {
    "length": (OK, THE_OK),
    "no body": (b"HTTP/1.1 204 No Content\r\n\r\n", HttpResponse(204, None, b"")),
    "chunks": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;x=y\r\no\r\n1\r\nk\r\n0\r\nA: b\r\n\r\n",
        THE_OK,
    ),
    "interim responses": (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK, THE_OK),
    "HTTP/1.0, kept": (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok", THE_OK),
    "a redirect": (b"HTTP/1.1 307 R\r\nLocation: /a\r\nContent-Length: 0\r\n\r\n", HttpResponse(307, None, b"")),
    "a cookie": (b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b; Path=/\r\nContent-Length: 2\r\n\r\nok", THE_OK),
    "a delay": (b"HTTP/1.1 429 B\r\nRetry-After: 7.5\r\nContent-Length: 0\r\n\r\n", HttpResponse(429, 7.5, b"")),
    "a large body": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 900000\r\n\r\n" + b"x" * 900_000,
        HttpResponse(200, None, b"x" * 900_000),
    ),
}


@pytest.mark.parametrize(("raw", "response"), KEPT.values(), ids=KEPT)
async def test_a_connection_is_used_again(calls_to: CallsTo, raw: bytes, response: HttpResponse) -> None:
    async def script(peer: Peer) -> None:
        while True:
            await peer.respond(raw)

    async with calls_to(script) as calls:
        assert [await calls.post() for _ in range(3)] == [response] * 3
        first = calls.server.requests[0]
        assert calls.server.requests == [first] * 3, "one connection, no other URL, no cookie"


def test_a_limit_in_the_same_millisecond_ends_calls_like_others(calls_to: CallsTo) -> None:
    """The event loop of workers, uvloop, then has no timer."""
    reported: list[dict[str, Any]] = []

    async def post() -> list[HttpResponse | NoResponse]:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
        async with calls_to(respond_always, start_within_s=0.0001, max_in_flight=2) as calls:
            found: list[HttpResponse | NoResponse] = await asyncio.gather(*(calls.post() for _ in range(20)))
            return found

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        found = runner.run(post())
    assert reported == []
    assert all(isinstance(one, NoResponse) and not one.begun for one in found)


NOT_KEPT = {
    "Connection: close": b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "a second response": OK + OK,
    "garbage after the response": OK + b"\x00garbage",
}


@pytest.mark.parametrize("raw", NOT_KEPT.values(), ids=NOT_KEPT)
async def test_a_connection_is_closed_after_the_response(calls_to: CallsTo, raw: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.respond(raw)
        await peer.end()

    async with calls_to(script) as calls:
        assert [await calls.post() for _ in range(3)] == [THE_OK] * 3
        assert calls.server.connections == 3
        await calls.until(lambda: calls.server.ended == 3)


@pytest.mark.parametrize("raw", [b"HTTP/1.1 200 OK\r\n\r\nok", b"HTTP/1.0 200 OK\r\n\r\nok", OK])
async def test_a_server_may_close_after_each_response(calls_to: CallsTo, raw: bytes) -> None:
    async with calls_to(lambda peer: peer.respond(raw)) as calls:
        for number in (1, 2, 3):
            assert await calls.post() == THE_OK
            assert calls.server.connections == number
            await calls.until(lambda: calls.server.ended == calls.server.connections)


BAD = {
    "no HTTP": b"220 mail.example ESMTP\r\n",
    "no status": b"HTTP/1.1 \r\n\r\n",
    "another protocol": b"HTTP/1.1 101 S\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    "garbage": b"\x00\x01\x02",
    "a large header": b"HTTP/1.1 200 OK\r\na: " + b"x" * 100_000 + b"\r\nContent-Length: 2\r\n\r\nok",
    "a large body": b"HTTP/1.1 200 OK\r\nContent-Length: 1200000\r\n\r\n" + b"x" * 1_200_000,
    "a large body without length": b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1_200_000,
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nok",
}


@pytest.mark.parametrize("raw", BAD.values(), ids=BAD)
async def test_after_a_bad_response_the_provider_may_have_accepted(calls_to: CallsTo, raw: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.respond(raw)
        await peer.end()

    async with calls_to(script) as calls:
        assert await calls.post() == NoResponse("BadResponse", begun=True)
        await calls.until(lambda: calls.server.ended == 1)


CUT = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nRetry-After: 1\r\n\r\n2\r\nok\r\n0\r\n\r\n"


@pytest.mark.parametrize("whole", [OK, CUT, b"HTTP/1.1 100 Continue\r\n\r\n" + OK], ids=["length", "chunks", "interim"])
async def test_a_response_that_is_cut_anywhere_is_none(calls_to: CallsTo, whole: bytes) -> None:
    async def script(peer: Peer) -> None:
        length = int((await peer.request()).rpartition(b"\r\n")[2])
        await peer.send(whole[:length])

    async with calls_to(script) as calls:
        for length in range(len(whole)):
            result = await calls.post(b"%d" % length)
            assert isinstance(result, NoResponse) and result.begun, length
        assert isinstance(await calls.post(b"%d" % len(whole)), HttpResponse)


@pytest.mark.parametrize("whole", [OK, CUT], ids=["length", "chunks"])
async def test_a_response_may_come_byte_by_byte(calls_to: CallsTo, whole: bytes) -> None:
    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            for byte in whole:
                await peer.send(bytes([byte]))
                await asyncio.sleep(0)

    async with calls_to(script) as calls:
        for _ in range(2):
            response = await calls.post()
            assert isinstance(response, HttpResponse) and response.body == b"ok"
        assert calls.server.connections == 1


async def drip(peer: Peer) -> None:
    await peer.respond(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while True:
        await peer.send(b"x")
        await asyncio.sleep(0.01)


async def say_nothing(peer: Peer) -> None:
    await peer.request()
    await peer.end()


@pytest.mark.parametrize("script", [drip, say_nothing])
async def test_a_slow_response_ends_at_the_time_limit(calls_to: CallsTo, script: Script) -> None:
    async with calls_to(script, timeout_s=0.3) as calls:
        await calls.client.warm_up(calls.url, 1)
        began = time.monotonic()
        assert await calls.post() == NoResponse("TimeoutError", begun=True)
        assert 0.29 < time.monotonic() - began < 1.5
        await calls.until(lambda: calls.server.ended == 1)


async def test_each_call_has_its_own_time_limit(calls_to: CallsTo) -> None:
    async def script(peer: Peer) -> None:
        while b"fast" in await peer.request():
            await peer.send(OK)
        await peer.end()

    async with calls_to(script, timeout_s=2.0) as calls:
        await calls.client.warm_up(calls.url, 3)
        began = time.monotonic()
        slow = asyncio.create_task(calls.post(b"slow"))
        assert await calls.post(b"fast") == THE_OK
        await calls.until(lambda: time.monotonic() - began > 1.0)
        later = asyncio.create_task(calls.post(b"slow"))
        assert await slow == NoResponse("TimeoutError", begun=True)
        assert 1.99 < time.monotonic() - began < 2.99
        assert not later.done()
        await later


async def test_a_lost_connection_may_have_been_too_late(calls_to: CallsTo) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        peer.abort()

    async with calls_to(script) as calls:
        result = await calls.post()
        assert isinstance(result, NoResponse) and result.begun


async def test_a_response_may_come_before_the_request_is_sent(calls_to: CallsTo) -> None:
    go_on = asyncio.Event()
    large = b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno"

    async def script(peer: Peer) -> None:
        if peer.number == 1:
            await peer.reader.readuntil(b"\r\n\r\n")
            peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
            await peer.send(large)
            await go_on.wait()
        else:
            await peer.respond()

    async with calls_to(script) as calls:
        assert await calls.post(b"x" * 30_000_000) == HttpResponse(413, None, b"no")
        assert await calls.post() == THE_OK
        assert calls.server.connections == 2
        go_on.set()


async def test_a_refused_request_reaches_no_server(calls_to: CallsTo) -> None:
    async with calls_to(respond_always) as calls:
        for value in ("a\r\nX: y", "a\nb", "a\0b", "€"):
            result = await calls.client.post(calls.url, {"Authorization": value}, b"")
            assert isinstance(result, NoResponse) and not result.begun
        for url in ("", "ftp://127.0.0.1/", calls.url + " HTTP/1.1\r\nX: y", "http://a@127.0.0.1/"):
            result = await calls.client.post(url, HEADERS, b"")
            assert isinstance(result, NoResponse) and not result.begun
        assert calls.server.connections == 0
        assert await calls.post() == THE_OK


class TestConnections:
    async def test_a_call_never_waits_for_a_free_connection_below_the_limit(self, calls_to: CallsTo) -> None:
        all_there = asyncio.Barrier(20)

        async def script(peer: Peer) -> None:
            while True:
                await peer.request()
                await all_there.wait()
                await peer.send(OK)

        async with calls_to(script, max_in_flight=20) as calls:
            for _ in range(3):
                assert await asyncio.gather(*(calls.post() for _ in range(20))) == [THE_OK] * 20
            assert calls.server.connections == 20

    async def test_more_connections_than_are_opened_at_once_are_opened(self, calls_to: CallsTo) -> None:
        count = MAX_OPENING + 8
        all_there = asyncio.Barrier(count)

        async def script(peer: Peer) -> None:
            await peer.request()
            await all_there.wait()
            await peer.send(OK)

        async with calls_to(script, max_in_flight=count) as calls:
            assert await asyncio.gather(*(calls.post() for _ in range(count))) == [THE_OK] * count

    async def test_calls_beyond_the_limit_take_turns(self, calls_to: CallsTo) -> None:
        async with calls_to(respond_always, max_in_flight=2) as calls:
            bodies = [b"%02d" % i for i in range(12)]
            assert await asyncio.gather(*map(calls.post, bodies)) == [THE_OK] * 12
            assert calls.server.connections == 2
            assert [request[-2:] for _, request in calls.server.requests] == bodies

    async def test_a_connection_that_ended_with_its_response_is_not_used(self, calls_to: CallsTo) -> None:
        async with calls_to(lambda peer: peer.last_response(), max_in_flight=1) as calls:
            assert await asyncio.gather(*(calls.post() for _ in range(4))) == [THE_OK] * 4
            assert calls.server.connections == 4

    async def test_a_call_without_a_connection_in_time_is_not_made(self, calls_to: CallsTo) -> None:
        go_on = asyncio.Event()

        async def script(peer: Peer) -> None:
            while True:
                await peer.request()
                await go_on.wait()
                await peer.send(OK)

        async with calls_to(script, max_in_flight=1, start_within_s=0.2) as calls:
            await calls.client.warm_up(calls.url, 1)
            first = asyncio.create_task(calls.post(b"first"))
            await calls.until(lambda: len(calls.server.requests) == 1)
            began = time.monotonic()
            assert await calls.post(b"second") == NoResponse("NoConnection", begun=False)
            assert 0.19 < time.monotonic() - began < 1.0
            go_on.set()
            assert await first == THE_OK
            assert await calls.post(b"third") == THE_OK
            assert [request.rpartition(b"\n")[2] for _, request in calls.server.requests] == [b"first", b"third"]

    async def test_a_call_is_not_made_late_after_the_event_loop_stood_still(self, calls_to: CallsTo) -> None:
        """The answer that makes the connection free and the end of the wait are there at the same time."""
        go_on = asyncio.Event()

        async def script(peer: Peer) -> None:
            await peer.request()
            await go_on.wait()
            await peer.send(OK)
            time.sleep(0.3)  # noqa: ASYNC251  # the event loop stands still
            await peer.respond()

        async with calls_to(script, max_in_flight=1, start_within_s=0.2) as calls:
            await calls.client.warm_up(calls.url, 1)
            first, second = (asyncio.create_task(calls.post(body)) for body in (b"first", b"second"))
            await calls.until(lambda: len(calls.server.requests) == 1)
            go_on.set()
            assert await first == THE_OK
            assert await second == NoResponse("NoConnection", begun=False)
            assert len(calls.server.requests) == 1

    async def test_the_last_connection_used_is_used_next(self, calls_to: CallsTo) -> None:
        async with calls_to(respond_always) as calls:
            await calls.client.warm_up(calls.url, 5)
            for _ in range(4):
                await calls.post()
            assert len({number for number, _ in calls.server.requests}) == 1
            assert calls.server.connections == 5

    async def test_idle_connections_are_closed(self, calls_to: CallsTo) -> None:
        async with calls_to(respond_always, idle_s=0.2) as calls:
            began = time.monotonic()
            await calls.client.warm_up(calls.url, 3)
            assert calls.server.ended == 0
            await calls.until(lambda: calls.server.ended == 3)
            assert time.monotonic() - began > 0.19
            assert await calls.post() == THE_OK
            assert calls.server.connections == 4

    async def test_a_used_connection_is_not_idle(self, calls_to: CallsTo) -> None:
        async with calls_to(respond_always, idle_s=0.3) as calls:
            began = time.monotonic()
            while time.monotonic() - began < 0.8:
                assert await calls.post() == THE_OK
                await asyncio.sleep(0.01)
            assert calls.server.connections == 1

    async def test_warm_up_opens_connections_ahead(self, calls_to: CallsTo) -> None:
        async with calls_to(respond_always, max_in_flight=12) as calls:
            await calls.client.warm_up(calls.url, 10)
            assert calls.server.connections == 10
            assert await asyncio.gather(*(calls.post() for _ in range(10))) == [THE_OK] * 10
            assert calls.server.connections == 10
            await calls.client.warm_up(calls.url, 50)
            assert calls.server.connections == 12

    async def test_the_client_of_a_provider_opens_connections_when_it_starts(self, calls_to: CallsTo) -> None:
        async with calls_to(respond_always, warm_connections=3) as calls:
            await calls.client.close()
            await calls.client.start(calls.url)
            await calls.until(lambda: calls.server.connections == 3)
            assert await calls.post() == THE_OK
            assert calls.server.connections == 3

    async def test_a_cancelled_call_gives_its_connection_up(self, calls_to: CallsTo) -> None:
        async def script(peer: Peer) -> None:
            while b"hang" not in await peer.request():
                await peer.send(OK)
            await peer.end()

        async with calls_to(script, max_in_flight=1) as calls:
            hanging = asyncio.create_task(calls.post(b"hang"))
            await calls.until(lambda: len(calls.server.requests) == 1)
            waiting = [asyncio.create_task(calls.post()) for _ in range(2)]
            await asyncio.sleep(0)
            waiting[0].cancel()
            hanging.cancel()
            assert await waiting[1] == THE_OK
            await calls.until(lambda: calls.server.ended == 1)
            assert waiting[0].cancelled() and hanging.cancelled()
            assert len(calls.server.requests) == 2

    async def test_an_idle_connection_with_data_is_not_used(self, calls_to: CallsTo, errors: list[Any]) -> None:
        idle = asyncio.Event()

        async def script(peer: Peer) -> None:
            await peer.respond()
            if peer.number == 1:
                await idle.wait()
                await peer.send(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
            await peer.end()

        async with calls_to(script) as calls:
            assert await calls.post() == THE_OK
            idle.set()
            await calls.until(lambda: calls.server.ended == 1)
            assert await calls.post() == THE_OK
            assert calls.server.connections == 2
        assert errors == []

    async def test_a_server_that_closes_new_connections_is_not_called_again_and_again(self, calls_to: CallsTo) -> None:
        async def script(peer: Peer) -> None:
            peer.abort()

        async with calls_to(script) as calls:
            assert isinstance(await calls.post(), NoResponse)
            assert calls.server.connections == 1

    async def test_nothing_is_sent_to_a_closed_port(self, calls_to: CallsTo, unused_tcp_port: int) -> None:
        async with calls_to(respond_always, max_in_flight=2) as calls:
            scheme = calls.url.partition(":")[0]
            url = f"{scheme}://127.0.0.1:{unused_tcp_port}/"
            results = await asyncio.gather(*(calls.client.post(url, {}, b"") for _ in range(5)))
            assert results == [NoResponse("ConnectionRefusedError", begun=False)] * 5
            await calls.client.warm_up(url, 3)

    async def test_nothing_is_sent_to_an_unknown_host(self, calls_to: CallsTo) -> None:
        async with calls_to(respond_always) as calls:
            for host in ("no-such-host.invalid", "x" * 70 + ".invalid", "a..b"):
                result = await calls.client.post(f"https://{host}/", {}, b"")
                assert isinstance(result, NoResponse) and not result.begun


class TestClose:
    async def test_calls_end_at_once(self, calls_to: CallsTo) -> None:
        async with calls_to(say_nothing, max_in_flight=2) as calls:
            tasks = [asyncio.create_task(calls.post()) for _ in range(3)]
            await calls.until(lambda: len(calls.server.requests) == 2)
            began = time.monotonic()
            await calls.client.close()
            results = await asyncio.gather(*tasks)
            assert time.monotonic() - began < 1.0
            closed = [NoResponse("ClientClosed", begun=begun) for begun in (True, True, False)]
            assert results == closed
            await calls.until(lambda: calls.server.ended == 2)
            with pytest.raises(RuntimeError, match="not started"):
                await calls.post()

    async def test_a_client_can_be_started_again(self, calls_to: CallsTo) -> None:
        async with calls_to(respond_always) as calls:
            assert await calls.post() == THE_OK
            await calls.client.close()
            await calls.client.start()
            assert await calls.post() == THE_OK

    async def test_nothing_stays_open(self, calls_to: CallsTo, errors: list[Any]) -> None:
        """Idle connections, one in use, and one that is being opened."""
        gc.collect()  # what other tests have left is not ours
        silent = socket.create_server(("127.0.0.1", 0))
        with warnings.catch_warnings(record=True) as caught, silent:
            warnings.simplefilter("always")
            async with calls_to(say_nothing) as calls:
                await calls.client.warm_up(calls.url, 3)
                url = f"https://127.0.0.1:{silent.getsockname()[1]}/"
                tasks = [asyncio.create_task(calls.post()), asyncio.create_task(calls.client.post(url, {}, b""))]
                await calls.until(lambda: len(calls.server.requests) == 1)
                began = time.monotonic()
                await calls.client.close()
                assert time.monotonic() - began < 1.0
                assert await tasks[1] == NoResponse("ClientClosed", begun=False)
                await calls.until(lambda: calls.server.ended == 3)
                del tasks
                gc.collect()
        assert [str(one.message) for one in caught if issubclass(one.category, ResourceWarning)] == []
        assert errors == []


async def test_a_connection_that_is_lost_while_nobody_waits_for_it_reports_nothing(
    errors: list[dict[str, Any]],
) -> None:
    class Owner:
        def responded(self, connection: Connection, response: HttpResponse) -> None: ...

        def lost(self, connection: Connection, reason: str) -> None: ...

    ours, theirs = socket.socketpair()
    with theirs:
        connection = Connection(ours, None, Owner())
        connection.connection_lost(None)
        assert connection.closed
        del connection
        gc.collect()
    assert errors == []


def close_after_each_response(
    listener: socket.socket, context: ssl.SSLContext | None, closed: threading.Semaphore, rest: bytes
) -> None:
    """A server in a thread, so that it closes while the client's event loop does nothing."""
    while True:
        try:
            peer, _ = listener.accept()
        except OSError:
            return
        raw = context.wrap_socket(peer, server_side=True) if context is not None else peer
        with raw:
            raw.recv(65536)
            raw.sendall(OK)
            go_on.acquire()
            raw.sendall(rest)
        closed.release()


go_on = threading.Semaphore(0)


@pytest.mark.parametrize("rest", [b"", b"HTTP/1.1 408 Timeout\r\n\r\n"], ids=["closed", "with a last word"])
@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
async def test_a_connection_closed_while_idle_costs_no_message(host_certificate: Path, tls: bool, rest: bytes) -> None:
    closed = threading.Semaphore(0)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if tls else None
    if context is not None:
        context.load_cert_chain(host_certificate)
    client = HttpClient(config_of(ca_file=str(host_certificate) if tls else None))
    await client.start()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        thread = threading.Thread(target=close_after_each_response, args=(listener, context, closed, rest))
        thread.start()
        for _ in range(5):
            assert await client.post(f"http{'s' * tls}://127.0.0.1:{port}/", HEADERS, b"{}") == THE_OK
            go_on.release()
            closed.acquire()  # the end is in the client's socket; its event loop has not seen it
        listener.shutdown(socket.SHUT_RDWR)
    await client.close()
    thread.join()


async def test_a_client_that_was_not_started_says_so() -> None:
    client = HttpClient(config_of())
    with pytest.raises(RuntimeError, match="call start"):
        await client.post("http://127.0.0.1/", {}, b"")
    await client.close()


async def test_the_next_address_of_a_name_is_tried() -> None:
    class TwoAddresses(NameLookups):
        async def look_up(self, host: str, port: int) -> list[Any]:
            return [
                (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in ("127.0.0.2", "127.0.0.1")
            ]

    async with serve(respond_always) as server:
        client = HttpClient(config_of(), lookups=TwoAddresses())
        await client.start()
        assert await client.post(f"http://two.example:{server.port}/", {}, b"") == THE_OK
        await client.close()
