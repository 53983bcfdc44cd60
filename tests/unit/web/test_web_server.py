"""The limits of a worker's web server, on real connections."""

import asyncio
import gzip
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp
import pytest
from aiohttp.web import BaseRequest, Response, Server, StreamResponse

from devtools.stack.ports import free_port
from notify_streams import metrics, tasks
from notify_streams.web.request_body import ClientGone, read_body
from notify_streams.web_server import MAX_CONNECTIONS, Connections, RequestRate, Web, WebLimits, listen
from tests.unit.web.conftest import NewWorker
from tests.waiting import until

HALF_A_REQUEST = b"GET /live HTTP/1.1\r\nHost: here\r\n"
REQUEST = HALF_A_REQUEST + b"\r\n"
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def connect(port: int, send: bytes) -> Connection:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(send)
    return reader, writer


async def is_closed(connection: Connection, within_s: float = 0.001) -> bool:
    try:
        return await asyncio.wait_for(connection[0].read(1), within_s) == b""
    except TimeoutError:
        return False
    except ConnectionError:
        return True


@pytest.fixture
async def connections() -> AsyncIterator[Callable[..., Awaitable[Connection]]]:
    """Opens connections that are closed at the end."""
    opened: list[Connection] = []

    async def make(port: int, send: bytes = b"") -> Connection:
        opened.append(await connect(port, send))
        return opened[-1]

    yield make
    for _, writer in opened:
        writer.close()


@asynccontextmanager
async def serving(
    handle: Callable[[BaseRequest], Awaitable[StreamResponse]],
    limit: int = 2,
    silent_s: float = 30.0,
    all_bodies_bytes: int = 1_000_000,
) -> AsyncIterator[tuple[int, Connections]]:
    """`Connections` with a handler of the test; yields the port."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    held: list[Connections] = []
    limits = WebLimits(1_000.0, connections=limit, all_bodies_bytes=all_bodies_bytes)

    async def tracked(request: BaseRequest) -> StreamResponse:
        held[0].begin(request.protocol)
        try:
            return await handle(request)
        finally:
            held[0].end(request.protocol)

    held.append(Connections(Server(tracked), limits, silent_s))
    running = [asyncio.create_task(held[0].accept(listener)), asyncio.create_task(held[0].close_silent())]
    try:
        yield listener.getsockname()[1], held[0]
    finally:
        await tasks.stop(running)
        listener.close()


async def hello(_: BaseRequest) -> Response:
    return Response(text="hello")


def refused(reason: str) -> float:
    return metrics.REGISTRY.get_sample_value("notify_web_refused_total", {"reason": reason}) or 0.0


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 here")
@pytest.mark.parametrize("client", ["127.0.0.1", "::1"])
def test_all_ipv6_addresses_take_ipv4_too(client: str) -> None:
    with listen("::", 0) as listener, socket.create_connection((client, listener.getsockname()[1]), timeout=5):
        pass


@asynccontextmanager
async def views_of(new_worker: NewWorker, role: str = "critical") -> AsyncIterator[int]:
    """The port on which a worker's views listen."""
    port = free_port()
    web = new_worker(role, web_port=port).web
    assert isinstance(web, Web)
    web.init_server()
    await web.start_server()
    try:
        yield port
    finally:
        await web.stop_server()


async def test_hundreds_of_half_requests_keep_no_quick_client_out(
    new_worker: NewWorker,
    connections: Callable[..., Awaitable[Connection]],
    bounded_log: pytest.LogCaptureFixture,
) -> None:
    async with AsyncExitStack() as closing:
        port = await closing.enter_async_context(views_of(new_worker))
        slow = await asyncio.gather(*(connections(port, HALF_A_REQUEST) for _ in range(400)))
        http = await closing.enter_async_context(aiohttp.ClientSession())
        for _ in range(3):
            began = time.monotonic()
            async with http.get(f"http://127.0.0.1:{port}/live", headers={"Connection": "close"}) as response:
                assert response.status == 200
            assert time.monotonic() - began < 3
        still_open = [one for one in slow if not await is_closed(one)]
        assert len(still_open) < MAX_CONNECTIONS
    assert len([one for one in bounded_log.records if vars(one).get("action") == "web.closed"]) == 1


async def test_a_connection_without_a_request_is_closed(connections: Callable[..., Awaitable[Connection]]) -> None:
    async with serving(hello, silent_s=0.2) as (port, _):
        half, empty = await connections(port, HALF_A_REQUEST), await connections(port)
        assert await is_closed(half, 5) and await is_closed(empty, 5)


async def test_a_client_that_does_not_read_its_response_is_disconnected(
    connections: Callable[..., Awaitable[Connection]],
) -> None:
    async def much(_: BaseRequest) -> Response:
        return Response(body=b"x" * 50_000_000)

    before = refused("silent")
    async with serving(much, silent_s=0.2) as (port, _):
        _, writer = await connections(port, REQUEST)
        writer.transport.pause_reading()  # type: ignore[attr-defined]

        async def is_disconnected() -> bool:
            return refused("silent") == before + 1

        await until(is_disconnected)


async def test_at_the_limit_the_oldest_connection_without_a_request_makes_room(
    connections: Callable[..., Awaitable[Connection]],
) -> None:
    async with serving(hello) as (port, _):
        oldest, other = await connections(port), await connections(port)
        reader, _ = await connections(port, REQUEST)
        assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
        assert await is_closed(oldest, 5) and not await is_closed(other)


async def test_bodies_that_do_not_arrive_keep_no_quick_client_out(
    connections: Callable[..., Awaitable[Connection]],
) -> None:
    async def length(request: BaseRequest) -> Response:
        return Response(text=f"{len(await read_body(request))} bytes")

    head = b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 10\r\n\r\n"
    async with serving(length) as (port, _):
        slow = [await connections(port, head + b"abc") for _ in range(2)]
        for _ in range(3):
            reader, _ = await connections(port, head + b"0123456789")
            # A body has 5 s.
            answer = await asyncio.wait_for(reader.readuntil(b" bytes"), 3)
            assert answer.startswith(b"HTTP/1.1 200 OK\r\n") and answer.endswith(b"\r\n\r\n10 bytes")
        assert await is_closed(slow[0], 1)
        # Who sends the rest in time has not lost the place.
        reader, writer = await connections(port, head + b"012")
        writer.write(b"3456789")
        assert (await asyncio.wait_for(reader.readuntil(b" bytes"), 3)).startswith(b"HTTP/1.1 200 OK\r\n")


async def test_beyond_the_limit_of_all_bodies_the_one_that_has_arrived_for_longest_makes_room(
    connections: Callable[..., Awaitable[Connection]],
) -> None:
    async def length(request: BaseRequest) -> Response:
        try:
            return Response(text=f"{len(await read_body(request, 1_000))} bytes")
        except ClientGone:
            return Response()

    head = b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 1000\r\n\r\n"
    before = refused("bodies")
    async with serving(length, limit=20, all_bodies_bytes=2_500) as (port, _):
        none = await connections(port, head)
        slow = [await connections(port, head + b"x" * 900) for _ in range(2)]
        for _ in range(3):
            reader, _ = await connections(port, head + b"x" * 1_000)
            answer = await asyncio.wait_for(reader.readuntil(b" bytes"), 3)
            assert answer.endswith(b"\r\n\r\n1000 bytes")
        # What was answered is not counted.
        assert await is_closed(slow[0], 1)
        assert not await is_closed(slow[1]) and not await is_closed(none)
        slow[1][1].write(b"x" * 100)
        assert (await asyncio.wait_for(slow[1][0].readuntil(b" bytes"), 3)).endswith(b"1000 bytes")
    assert refused("bodies") == before + 1


async def test_bodies_of_requests_without_a_response_count(connections: Callable[..., Awaitable[Connection]]) -> None:
    go_on, arrived = asyncio.Event(), asyncio.Semaphore(0)

    async def hold(request: BaseRequest) -> Response:
        try:
            body = await read_body(request, 1_000)
        except ClientGone:
            return Response()
        arrived.release()
        await go_on.wait()
        return Response(text=f"{len(body)} bytes")

    request = b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 1000\r\n\r\n" + b"x" * 1_000
    async with serving(hold, limit=20, all_bodies_bytes=2_500) as (port, _):
        first = [await connections(port, request) for _ in range(2)]
        for _ in first:
            await arrived.acquire()
        assert await is_closed(await connections(port, request), 3)
        go_on.set()
        for reader, _ in first:
            assert (await asyncio.wait_for(reader.readuntil(b" bytes"), 3)).endswith(b"1000 bytes")


async def test_a_client_that_goes_before_its_body_has_arrived_is_no_error(
    new_worker: NewWorker, connections: Callable[..., Awaitable[Connection]], caplog: pytest.LogCaptureFixture
) -> None:
    async with AsyncExitStack() as closing:
        port = await closing.enter_async_context(views_of(new_worker, "webhooks"))
        head = b"POST /unsubscribe/x HTTP/1.1\r\nHost: here\r\nContent-Length: 10\r\n\r\n"
        _, writer = await connections(port, head + b"abc")
        await asyncio.sleep(0.1)
        writer.transport.abort()
        http = await closing.enter_async_context(aiohttp.ClientSession())
        async with http.get(f"http://127.0.0.1:{port}/live") as response:
            assert response.status == 200
    assert not [one for one in caplog.records if one.levelname == "ERROR"]


async def test_while_all_connections_have_requests_the_next_one_waits_for_its_turn(
    connections: Callable[..., Awaitable[Connection]],
) -> None:
    go_on, busy = asyncio.Event(), asyncio.Semaphore(0)

    async def wait(_: BaseRequest) -> Response:
        busy.release()
        await go_on.wait()
        return Response(text="done")

    async with serving(wait) as (port, _):
        first = [await connections(port, REQUEST) for _ in range(2)]
        for _ in first:
            await busy.acquire()
        third, _ = await connections(port, REQUEST)
        assert busy.locked() and not [one for one in first if await is_closed(one)]
        go_on.set()
        assert await asyncio.wait_for(third.readline(), 5) == b"HTTP/1.1 200 OK\r\n"
        for reader, _ in first:
            assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"


async def test_requests_are_spread_over_time_and_in_order() -> None:
    rate = RequestRate(100.0)
    ended: list[int] = []

    async def request(number: int) -> None:
        await rate.turn(lambda: True)
        ended.append(number)

    began = time.monotonic()
    await asyncio.gather(*map(request, range(20)))
    assert time.monotonic() - began >= 0.18
    assert ended == list(range(20))


async def test_requests_whose_clients_have_gone_take_no_turn() -> None:
    rate = RequestRate(100.0)
    assert await rate.turn(lambda: True)
    began = time.monotonic()
    gone = asyncio.gather(*(rate.turn(lambda: False) for _ in range(1_000)))
    assert await rate.turn(lambda: True)
    assert time.monotonic() - began < 1
    assert not any(await gone)


async def test_connections_that_close_at_once_leave_no_line_of_requests(
    new_worker: NewWorker, connections: Callable[..., Awaitable[Connection]], caplog: pytest.LogCaptureFixture
) -> None:
    async with AsyncExitStack() as closing:
        port = await closing.enter_async_context(views_of(new_worker))
        for _ in range(300):
            _, writer = await connections(port, REQUEST)
            # The request is read; its client does not wait for the response.
            await asyncio.sleep(0.001)
            writer.transport.abort()
        began = time.monotonic()
        reader, _ = await connections(port, REQUEST)
        assert await asyncio.wait_for(reader.readline(), 10) == b"HTTP/1.1 200 OK\r\n"
        # 300 requests take 6 s.
        assert time.monotonic() - began < 3
    assert not [one for one in caplog.records if one.levelname == "ERROR"]


@pytest.mark.parametrize("expect", [b"x", b"\xff", b"x" * 4_000], ids=["another", "not UTF-8", "long"])
async def test_a_request_with_an_unknown_expectation_waits_for_its_turn_too(
    new_worker: NewWorker,
    connections: Callable[..., Awaitable[Connection]],
    expect: bytes,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with AsyncExitStack() as closing:
        port = await closing.enter_async_context(views_of(new_worker))
        began = time.monotonic()
        reader, _ = await connections(port, 20 * (HALF_A_REQUEST + b"Expect: " + expect + b"\r\n\r\n"))
        for _ in range(20):
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
            assert head.startswith(b"HTTP/1.1 417 ")
            await reader.readexactly(int(head.split(b"Content-Length: ")[1].split(b"\r\n")[0]))
        assert time.monotonic() - began >= 19 / 50
    assert not [one for one in caplog.records if one.levelname == "ERROR"]


async def test_a_body_may_wait_for_the_word_to_continue(
    new_worker: NewWorker, connections: Callable[..., Awaitable[Connection]]
) -> None:
    async with AsyncExitStack() as closing:
        port = await closing.enter_async_context(views_of(new_worker))
        head = b"POST /nothing HTTP/1.1\r\nHost: here\r\nExpect: 100-Continue\r\nContent-Length: 2\r\n\r\n"
        reader, _ = await connections(port, head)
        assert await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5) == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert (await reader.readline()).startswith(b"HTTP/1.1 404 ")


BOMB = gzip.compress(bytes(5_000_000))


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br"])
async def test_a_body_is_not_decompressed(coding: str, connections: Callable[..., Awaitable[Connection]]) -> None:
    async def length(request: BaseRequest) -> Response:
        return Response(text=f"{len(await request.read())} bytes")

    head = f"POST / HTTP/1.1\r\nHost: here\r\nContent-Encoding: {coding}\r\nContent-Length: {len(BOMB)}\r\n\r\n"
    async with serving(length) as (port, _):
        reader, _ = await connections(port, head.encode() + BOMB)
        answer = await asyncio.wait_for(reader.readuntil(b" bytes"), 5)
    assert answer.endswith(f"\r\n\r\n{len(BOMB)} bytes".encode())


@pytest.mark.parametrize(("coding", "status"), [("gzip", 415), ("br", 415), ("x-none", 415), ("identity", 404)])
async def test_a_compressed_body_is_refused(new_worker: NewWorker, coding: str, status: int) -> None:
    async with AsyncExitStack() as closing:
        port = await closing.enter_async_context(views_of(new_worker))
        http = await closing.enter_async_context(aiohttp.ClientSession())
        before, headers = refused("body"), {"Content-Encoding": coding}
        async with http.post(f"http://127.0.0.1:{port}/nothing", data=b"{}", headers=headers) as response:
            assert response.status == status
        assert refused("body") - before == (status == 415)
