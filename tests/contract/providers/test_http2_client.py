"""Calls over HTTP/2: streams, windows, the end of a connection. What a server ignored is begun again, and nothing else."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes

from notify_streams.delivery.providers import ProviderConfig
from notify_streams.delivery.providers.http2.client import Http2Client
from notify_streams.delivery.providers.http2.connection import Connection
from notify_streams.delivery.providers.http_responses import HttpResponse, NoResponse
from tests.contract.providers.http2_server import Http2Server, Peer, serve_http2
from tests.waiting import until

OK = HttpResponse(200, None, b"ok")


@asynccontextmanager
async def started(server: Http2Server, certificate: Path | None, **but: Any) -> AsyncIterator[Http2Client]:
    given = {"start_within_s": 5.0, "ca_file": certificate and str(certificate), **but}
    config = ProviderConfig(fcm="", twilio="", smtp="", **given)
    client = Http2Client(f"https://127.0.0.1:{server.port}", config)
    await client.start()
    try:
        yield client
    finally:
        await client.close()


def ok(peer: Peer, stream: int) -> None:
    peer.respond(stream)


def nothing(peer: Peer, stream: int) -> None:
    pass


async def posts(client: Http2Client, bodies: list[bytes]) -> list[HttpResponse | NoResponse]:
    return await asyncio.gather(*(client.post("/", {}, {}, body) for body in bodies))


async def test_concurrent_calls_share_a_connection(host_certificate: Path) -> None:
    settings = {SettingCodes.MAX_CONCURRENT_STREAMS: 300}
    async with (
        serve_http2(ok, host_certificate, settings=settings) as server,
        started(server, host_certificate) as client,
    ):
        sent = [b"%d" % number for number in range(300)]
        assert await posts(client, sent) == [OK] * 300
        assert sorted(server.bodies) == sorted(sent)
        assert len(server.peers) == 1


async def test_a_request_has_its_headers_and_a_response_its_status_and_delay(host_certificate: Path) -> None:
    def busy(peer: Peer, stream: int) -> None:
        peer.respond(stream, 429, b"{}", retry_after="7")

    async with serve_http2(busy, host_certificate) as server, started(server, host_certificate) as client:
        assert await client.post("/3/x", {"apns-topic": "t"}, {"apns-id": "i"}, b"body") == HttpResponse(
            429, 7.0, b"{}"
        )
        (request,) = server.peers[0].requests.values()
        assert request.headers == {
            ":method": "POST",
            ":scheme": "https",
            ":authority": f"127.0.0.1:{server.port}",
            ":path": "/3/x",
            "apns-topic": "t",
            "apns-id": "i",
        }


async def test_only_headers_that_stay_the_same_are_kept_in_the_servers_table(host_certificate: Path) -> None:
    """Apple asks for it: the table is small."""
    async with serve_http2(ok, host_certificate) as server, started(server, host_certificate) as client:
        for number in range(3):
            assert await client.post(f"/{number}", {"apns-topic": "t"}, {"apns-id": f"{number}"}, b"") == OK
        kept = [name for name, _ in server.peers[0].h2.decoder.header_table.dynamic_entries]
        assert sorted(kept) == [b":authority", b"apns-topic"]


async def test_no_more_streams_are_open_than_the_server_allows(host_certificate: Path) -> None:
    def later(peer: Peer, stream: int) -> None:
        asyncio.get_running_loop().call_later(0.005, peer.respond, stream)

    settings = {SettingCodes.MAX_CONCURRENT_STREAMS: 2}
    async with (
        serve_http2(later, host_certificate, settings=settings) as server,
        started(server, host_certificate) as client,
    ):
        assert await posts(client, [b"x"] * 100) == [OK] * 100
        assert max(peer.most_open for peer in server.peers) == 2
        assert 1 < len(server.peers) <= 8


async def test_a_call_without_a_free_stream_is_not_begun(host_certificate: Path) -> None:
    settings = {SettingCodes.MAX_CONCURRENT_STREAMS: 1}
    async with (
        serve_http2(nothing, host_certificate, settings=settings) as server,
        started(server, host_certificate, start_within_s=1.5, timeout_s=5.0) as client,
    ):
        results = await posts(client, [b"x"] * 9)
        assert results.count(NoResponse("NoConnection", begun=False)) == 1
        assert results.count(NoResponse("TimeoutError", begun=True)) == 8


async def test_a_call_is_not_begun_late_after_the_event_loop_stood_still(host_certificate: Path) -> None:
    """The answer that makes a stream free and the end of the wait are there at the same time."""
    settings = {SettingCodes.MAX_CONCURRENT_STREAMS: 1}
    async with (
        serve_http2(nothing, host_certificate, settings=settings) as server,
        started(server, host_certificate, max_in_flight=1, start_within_s=0.2) as client,
    ):
        first, second = (asyncio.create_task(client.post("/", {}, {}, body)) for body in (b"first", b"second"))
        await until(lambda: server.bodies == [b"first"])
        (peer,) = server.peers
        peer.respond(next(iter(peer.requests)))
        time.sleep(0.3)  # noqa: ASYNC251  # the event loop stands still
        assert await first == OK
        assert await second == NoResponse("NoConnection", begun=False)
        assert server.bodies == [b"first"]


async def test_a_call_waits_for_the_servers_window(host_certificate: Path) -> None:
    async with (
        serve_http2(ok, host_certificate, withhold=True) as server,
        started(server, host_certificate) as client,
    ):
        # 65,535 bytes are open at first.
        calls = asyncio.create_task(posts(client, [b"x" * 4096] * 200))
        while not calls.done():
            await asyncio.sleep(0.005)
            for peer in server.peers:
                if peer.withheld > 50_000:
                    peer.give_back()
        assert calls.result() == [OK] * 200
        assert server.bodies == [b"x" * 4096] * 200


async def test_without_a_window_no_part_of_a_request_is_sent(host_certificate: Path) -> None:
    async with (
        serve_http2(ok, host_certificate, withhold=True) as server,
        started(server, host_certificate, start_within_s=1.0) as client,
    ):
        # 15 bodies of 4,096 bytes fit into the first window of each of the 8 connections.
        results = await posts(client, [b"x" * 4096] * 125)
        sent = results.count(OK)
        assert 15 <= sent <= 120, "fewer, if not all connections were open in time"
        assert results.count(NoResponse("NoConnection", begun=False)) == 125 - sent
        assert sum(len(peer.requests) for peer in server.peers) == sent


async def test_a_body_is_cut_to_the_window_of_its_stream(host_certificate: Path) -> None:
    settings = {SettingCodes.INITIAL_WINDOW_SIZE: 100}
    async with (
        serve_http2(ok, host_certificate, settings=settings) as server,
        started(server, host_certificate) as client,
    ):
        assert await posts(client, [b"x" * 4096] * 5) == [OK] * 5
        assert server.bodies == [b"x" * 4096] * 5


async def test_responses_of_more_than_the_window_arrive(host_certificate: Path) -> None:
    def large(peer: Peer, stream: int) -> None:
        peer.respond(stream, body=b"y" * 30_000)

    async with serve_http2(large, host_certificate) as server, started(server, host_certificate) as client:
        for _ in range(10):
            assert await client.post("/", {}, {}, b"") == HttpResponse(200, None, b"y" * 30_000)
        assert len(server.peers) == 1


async def test_after_goaway_earlier_streams_end_and_later_ones_begin_again(host_certificate: Path) -> None:
    def goes_away(peer: Peer, stream: int) -> None:
        if peer.number > 1:
            peer.respond(stream)
        elif stream == 5:
            peer.go_away(2**31 - 1)  # the warning that comes first
            peer.go_away(3)
            peer.respond(1, body=b"first")
            asyncio.get_running_loop().call_later(0.05, peer.respond, 3, 200, b"second")

    async with serve_http2(goes_away, host_certificate) as server, started(server, host_certificate) as client:
        results = await posts(client, [b"1", b"2", b"3"])
        assert results == [HttpResponse(200, None, b"first"), HttpResponse(200, None, b"second"), OK]
        assert server.bodies == [b"1", b"2", b"3", b"3"]
        await until(lambda: server.ended == 1)  # the client closes what it does not need
        assert len(server.peers) == 2


async def test_a_connection_that_ends_without_an_answer_is_forgotten(host_certificate: Path) -> None:
    def leaves(peer: Peer, stream: int) -> None:
        peer.go_away(stream)

    async with (
        serve_http2(leaves, host_certificate) as server,
        started(server, host_certificate, timeout_s=0.1) as client,
    ):
        for _ in range(3):
            assert await client.post("/", {}, {}, b"") == NoResponse("TimeoutError", begun=True)
        await until(lambda: server.ended == 3)
        gc.collect()
        assert [one for one in gc.get_objects() if isinstance(one, Connection) and one.draining] == []


def last_words(peer: Peer, stream: int) -> None:
    peer.go_away(stream)
    peer.transport.close()


Fault = Callable[[Peer, int], None]
FAULTS: list[tuple[str, Fault, NoResponse]] = [
    ("a lost connection", lambda peer, _: peer.transport.abort(), NoResponse("ConnectionResetError", begun=True)),
    ("a closed connection", lambda peer, _: peer.transport.close(), NoResponse("ConnectionResetError", begun=True)),
    ("no HTTP/2", lambda peer, _: peer.raw(b"HTTP/1.1 200 OK\r\n\r\n"), NoResponse("BadResponse", begun=True)),
    (
        "a reset stream",
        lambda peer, stream: peer.reset(stream, ErrorCodes.INTERNAL_ERROR),
        NoResponse("StreamReset", begun=True),
    ),
    (
        "a refused stream, each time",
        lambda peer, stream: peer.reset(stream, ErrorCodes.REFUSED_STREAM),
        NoResponse("StreamReset", begun=False),
    ),
    ("goaway, each time", lambda peer, stream: peer.go_away(stream - 1), NoResponse("GoAway", begun=False)),
    (
        "a large body",
        lambda peer, stream: peer.respond(stream, body=b"z" * 40_000),
        NoResponse("BadResponse", begun=True),
    ),
    (
        "goaway that allows the stream, then the end",
        last_words,
        NoResponse("ConnectionResetError", begun=True),
    ),
]


@pytest.mark.parametrize(("fault", "expected"), [case[1:] for case in FAULTS], ids=[case[0] for case in FAULTS])
async def test_a_call_without_response_says_whether_it_was_begun(
    host_certificate: Path, fault: Fault, expected: NoResponse
) -> None:
    async with serve_http2(fault, host_certificate) as server, started(server, host_certificate) as client:
        assert await client.post("/", {}, {}, b"x") == expected
        server.on_request = ok
        assert await client.post("/", {}, {}, b"y") == OK
        assert server.bodies.count(b"x") == (1 if expected.begun else 3)


async def test_a_call_that_is_too_slow_is_reset_and_the_connection_kept(host_certificate: Path) -> None:
    async with (
        serve_http2(nothing, host_certificate) as server,
        started(server, host_certificate, timeout_s=1.0) as client,
    ):
        assert await client.post("/", {}, {}, b"x") == NoResponse("TimeoutError", begun=True)
        cancelled = asyncio.create_task(client.post("/", {}, {}, b"x"))
        await until(lambda: len(server.bodies) == 2)
        cancelled.cancel()
        await until(lambda: server.peers[0].resets == [1, 3])
        server.on_request = ok
        assert await client.post("/", {}, {}, b"x") == OK
        assert len(server.peers) == 1


async def test_a_server_that_acknowledges_no_ping_is_left(host_certificate: Path) -> None:
    async with serve_http2(ok, host_certificate) as server, started(server, host_certificate, timeout_s=30) as client:
        assert await client.post("/", {}, {}, b"") == OK
        server.silent = True
        began = time.monotonic()
        assert await client.post("/", {}, {}, b"") == NoResponse("NoPingAck", begun=True)
        assert time.monotonic() - began < 5


async def test_an_idle_connection_is_closed(host_certificate: Path) -> None:
    async with serve_http2(ok, host_certificate) as server, started(server, host_certificate, idle_s=0.1) as client:
        assert await client.post("/", {}, {}, b"") == OK
        await until(lambda: server.ended == 1)
        assert await client.post("/", {}, {}, b"") == OK


@pytest.mark.parametrize(
    ("protocol", "known", "error"),
    [("http/1.1", True, "SSLError"), ("h2", False, "SSLCertVerificationError")],
    ids=["no HTTP/2", "an unknown authority"],
)
async def test_nothing_is_sent_to_another_server(
    host_certificate: Path, protocol: str, known: bool, error: str
) -> None:
    async with (
        serve_http2(ok, host_certificate, protocol=protocol) as server,
        started(server, host_certificate if known else None) as client,
    ):
        result = await client.post("/", {}, {}, b"")
        assert isinstance(result, NoResponse) and not result.begun
        assert result.error in (error, "SSLError")
        assert server.bodies == []


async def test_calls_end_when_the_client_is_closed(host_certificate: Path) -> None:
    async with serve_http2(nothing, host_certificate) as server, started(server, host_certificate) as client:
        call: Awaitable[HttpResponse | NoResponse] = asyncio.create_task(client.post("/", {}, {}, b"x"))
        await until(lambda: server.bodies == [b"x"])
        await client.close()
        assert await call == NoResponse("ClientClosed", begun=True)


async def test_connections_that_are_left_finish_their_calls_and_take_no_other(host_certificate: Path) -> None:
    answers: dict[bytes, Callable[[], None]] = {}

    def later(peer: Peer, stream: int) -> None:
        answers[peer.requests[stream].body] = lambda: peer.respond(stream)

    settings = {SettingCodes.MAX_CONCURRENT_STREAMS: 1}
    async with (
        serve_http2(later, host_certificate, settings=settings) as server,
        started(server, host_certificate, max_in_flight=1) as client,
    ):
        under_way = asyncio.create_task(client.post("/", {}, {}, b"under way"))
        await until(lambda: b"under way" in answers)
        waiting = asyncio.create_task(client.post("/", {}, {}, b"waiting"))
        await asyncio.sleep(0)
        client.leave_connections()
        assert await waiting == NoResponse("NoConnection", begun=False)
        answers[b"under way"]()
        assert await under_way == OK
        next_one = asyncio.create_task(client.post("/", {}, {}, b"next"))
        await until(lambda: b"next" in answers)
        answers[b"next"]()
        assert await next_one == OK
        assert [sorted(one.body for one in peer.requests.values()) for peer in server.peers] == [
            [b"under way"],
            [b"next"],
        ]


async def test_a_call_from_before_the_connections_were_left_begins_on_no_later_one(host_certificate: Path) -> None:
    received = asyncio.Event()

    def keep(peer: Peer, stream: int) -> None:
        received.set()

    async with serve_http2(keep, host_certificate) as server, started(server, host_certificate) as client:
        call = asyncio.create_task(client.post("/", {}, {}, b"early"))
        await received.wait()
        client.leave_connections()
        server.peers[0].reset(1, ErrorCodes.REFUSED_STREAM)
        assert await call == NoResponse("NoConnection", begun=False)
        assert len(server.bodies) == 1
