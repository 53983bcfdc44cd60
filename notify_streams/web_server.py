"""Faust's web server, with limits.

Of connections, the time without a request, requests and connections a second, the size of a body and of all bodies together.

The server shares the event loop of the worker's agents, so no number of clients may take more of it than these limits give.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from aiohttp.web import (
    AppRunner,
    HTTPExpectationFailed,
    HTTPRequestEntityTooLarge,
    HTTPUnsupportedMediaType,
    RequestHandler,
    Response,
    middleware,
)
from faust.web.drivers import aiohttp as stock

from notify_streams import metrics, tasks

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from aiohttp.web import BaseRequest, Request, Server, StreamResponse

log = logging.getLogger(__name__)

MAX_BODY_BYTES: Final = 1024
MAX_CONNECTIONS: Final = 64
#: Pages that are kept current by a worker of the role `views`; each has one connection more.
MAX_STREAMS: Final = 200
#: Connections that the kernel keeps for us.
_BACKLOG: Final = 128
_AFTER_ERROR_S: Final = 0.5
#: A connection without a complete request header for this long is closed; also one whose client does not read its response.
_SILENT_S: Final = 5.0
_LINGERING_S: Final = 1.0
_SHUTDOWN_S: Final = 2.0
_LOOK_EVERY_S: Final = 1.0
_LATE_S: Final = 0.005
#: The encoding of a body that is none.
_PLAIN: Final = "identity"
#: The one expectation that there is (RFC 9110, section 10.1.1).
_CONTINUE: Final = "100-continue"


@dataclass(frozen=True, slots=True)
class WebLimits:
    """What the clients of one worker may use. More requests and connections wait; a longer body gets 413, a compressed one 415."""

    requests_per_s: float
    connections: int = MAX_CONNECTIONS
    connections_per_s: float = 250.0
    body_bytes: int = MAX_BODY_BYTES
    #: Of all requests together, from the first byte of a body to the response. Bodies arrive before anything proves who sends them.
    all_bodies_bytes: int = 64 * 1024 * 1024


class Connections:
    """Accepts connections up to a limit and closes those that wait too long for a request.

    At the limit the one that has waited longest, for a request or its body, is closed; if all have whole requests, the next one stays in
    the kernel's queue. Beyond the limit of bytes the one whose body has arrived for the longest time is closed. So a client that is quick
    is served, however many others hold connections.
    """

    def __init__(self, server: Server, limits: WebLimits, silent_s: float = _SILENT_S) -> None:
        self._server = server
        self._limit = limits.connections
        self._max_bodies_bytes = limits.all_bodies_bytes
        self._accept_gap_s = 1 / limits.connections_per_s
        self._silent_s = silent_s
        self._loop = asyncio.get_running_loop()
        #: Connections without a request, or without its body, and since when; the oldest first.
        self._waiting: dict[RequestHandler, float] = {}
        self._busy: set[RequestHandler] = set()
        #: Bytes of the bodies that have arrived, of requests without a response; their sum.
        self._bodies: dict[RequestHandler, int] = {}
        self._bodies_bytes = 0
        self._changed = asyncio.Event()

    async def accept(self, listener: socket.socket) -> None:
        """Accept connections until cancelled."""
        while True:
            while len(self._busy) >= self._limit:
                self._changed.clear()
                await self._changed.wait()
            try:
                connection, _ = await self._loop.sock_accept(listener)
                if self._waiting and len(self._busy) + len(self._waiting) >= self._limit:
                    self._close(next(iter(self._waiting)), "connections")
                await self._loop.connect_accepted_socket(self._new_handler, connection)
            except OSError as error:
                log.warning("no connection accepted", extra={"action": "web.accept", "error": type(error).__name__})
                await asyncio.sleep(_AFTER_ERROR_S)
            await asyncio.sleep(self._accept_gap_s)

    async def close_silent(self) -> None:
        """Close connections that have waited too long, until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            before_s = self._loop.time() - self._silent_s
            for handler in [handler for handler, since_s in self._waiting.items() if since_s <= before_s]:
                self._close(handler, "silent")

    def begin(self, handler: RequestHandler) -> None:
        """A request of this connection is handled now."""
        if self._waiting.pop(handler, None) is not None:
            self._busy.add(handler)

    def end(self, handler: RequestHandler) -> None:
        """The request was handled; its response has to be sent."""
        self._release(handler)
        self.wait(handler)

    def wait(self, handler: RequestHandler) -> None:
        """The client has to send the body, or to read the response."""
        if handler in self._busy:
            self._busy.remove(handler)
            self._waiting[handler] = self._loop.time()
            self._changed.set()

    def hold(self, handler: RequestHandler, count: int) -> None:
        """`count` more bytes of a body have arrived, and stay until the request ends.

        Raises:
            ConnectionResetError: the connection was closed.
        """
        self._bodies[handler] = self._bodies.get(handler, 0) + count
        self._bodies_bytes += count
        while self._bodies_bytes > self._max_bodies_bytes:
            oldest = next((one for one in self._waiting if one in self._bodies), None)
            if oldest is None:
                break
            self._close(oldest, "bodies")
        if handler not in self._waiting:
            self._release(handler)
            raise ConnectionResetError("the connection was closed while its body arrived")

    def closed(self, handler: RequestHandler) -> None:
        """The connection has ended."""
        self._waiting.pop(handler, None)
        self._busy.discard(handler)
        self._changed.set()

    def _new_handler(self) -> RequestHandler:
        # Not decompressed: 600 kB can become 600 MB, and nothing else would run for the seconds that it takes, whether a view reads it or not.
        options = {"access_log": None, "keepalive_timeout": self._silent_s, "lingering_time": _LINGERING_S}
        handler = _Handler(self._server, self, loop=self._loop, auto_decompress=False, **options)
        self._waiting[handler] = self._loop.time()
        return handler

    def _release(self, handler: RequestHandler) -> None:
        self._bodies_bytes -= self._bodies.pop(handler, 0)

    def _close(self, handler: RequestHandler, reason: str) -> None:
        self.closed(handler)
        self._release(handler)
        if handler.transport is not None:
            handler.transport.abort()  # `close` would wait for a client that does not read
        metrics.WEB_REFUSED.labels(reason).inc()
        log.warning("the web server closed a connection", extra={"action": "web.closed", "reason": reason})


class _Handler(RequestHandler):
    """aiohttp's handler, which tells `Connections` of its end."""

    __slots__ = ("_connections",)

    def __init__(self, server: Server, connections: Connections, **options: Any) -> None:
        super().__init__(server, **options)
        self._connections = connections

    def connection_lost(self, exc: BaseException | None) -> None:
        self._connections.closed(self)
        super().connection_lost(exc)

    @contextmanager
    def awaiting_body(self) -> Iterator[Callable[[int], None]]:
        """While the client sends its body, another client may have the place. Yields `Connections.hold`."""
        self._connections.wait(self)
        try:
            yield partial(self._connections.hold, self)
        finally:
            self._connections.begin(self)


def awaiting_body(request: BaseRequest) -> AbstractContextManager[Callable[[int], None]]:
    """The block reads the body of a request.

    It calls what it gets with the number of bytes of each part: see `Connections.hold`.
    """
    handler = request.protocol
    return handler.awaiting_body() if isinstance(handler, _Handler) else nullcontext(lambda _: None)


class RequestRate:
    """Spreads requests over time: one each `1 / per_s` seconds, in the order in which they came."""

    def __init__(self, per_s: float) -> None:
        self._gap_s = 1 / per_s
        self._next_s = 0.0
        self._line = asyncio.Lock()

    async def turn(self, is_wanted: Callable[[], bool]) -> bool:
        """Wait until this request may be handled.

        False: its client has gone. It takes no time from those behind it, so the line is as long as there are connections.
        """
        loop = asyncio.get_running_loop()
        # Those in the line make up for a loop that wakes them late.
        late_s = _LATE_S if self._line.locked() else 0.0
        async with self._line:
            if not is_wanted():
                return False
            wait_s = self._next_s - loop.time()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
                if not is_wanted():
                    return False
            self._next_s = max(self._next_s, loop.time() - late_s) + self._gap_s
            return True


def listen(host: str, port: int) -> socket.socket:
    """A listener that does not block. On `::` it takes IPv4, too: probes of the kubelet have the family of the pod's first address."""
    is_ipv6 = ":" in host
    listener = socket.create_server(
        (host, port),
        family=socket.AF_INET6 if is_ipv6 else socket.AF_INET,
        backlog=_BACKLOG,
        dualstack_ipv6=is_ipv6 and socket.has_dualstack_ipv6(),
    )
    listener.setblocking(False)
    return listener


class Web(stock.Web):
    """The web server of one worker."""

    def __init__(
        self, app: Any, limits: WebLimits, when_listening: Sequence[Callable[[], Awaitable[None]]] = ()
    ) -> None:
        """`when_listening` is awaited in order when the server listens; views may add to it when they are created."""
        super().__init__(app)
        self._limits = limits
        self._when_listening = when_listening
        self._rate = RequestRate(limits.requests_per_s)
        self._runner = AppRunner(self.web_app, access_log=None, shutdown_timeout=_SHUTDOWN_S)
        self._connections: Connections | None = None
        self._listener: socket.socket | None = None
        self._running: list[asyncio.Task[None]] = []
        self.web_app.middlewares.append(self._limited)

    async def start_server(self) -> None:
        """Listen. Replaces Faust's method, which has no limits."""
        await self._runner.setup()
        assert self._runner.server is not None
        self._runner.server.request_handler = self._in_turn(self._runner.server.request_handler)
        self._listener = listen(self.app.conf.web_bind, self.app.conf.web_port)
        self._connections = Connections(self._runner.server, self._limits)
        accept = partial(self._connections.accept, self._listener)
        loops = (
            tasks.keep_running("web server: accept", accept),
            tasks.keep_running("web server: close", self._connections.close_silent),
        )
        self._running = [asyncio.create_task(loop, name="web server") for loop in loops]
        for start in self._when_listening:
            await start()

    async def stop_server(self) -> None:
        """Stop accepting, then give requests 2 s."""
        await tasks.stop(self._running)
        if self._listener is not None:
            self._listener.close()
        await super().stop_server()

    def _in_turn(
        self, handle: Callable[[BaseRequest], Awaitable[StreamResponse]]
    ) -> Callable[[BaseRequest], Awaitable[StreamResponse]]:
        """`handle` within the limits of connections and requests.

        No middleware: aiohttp answers some requests before the first one.
        """

        async def in_turn(request: BaseRequest) -> StreamResponse:
            assert self._connections is not None
            self._connections.begin(request.protocol)
            try:
                if not await self._rate.turn(lambda: request.transport is not None):
                    return Response()  # is not sent
                if request.headers.get("Expect", _CONTINUE).lower() != _CONTINUE:
                    raise HTTPExpectationFailed(text=f"of the header Expect only {_CONTINUE} is known")
                return await handle(request)
            finally:
                self._connections.end(request.protocol)

        return in_turn

    @middleware
    async def _limited(
        self, request: Request, handler: Callable[[Request], Awaitable[StreamResponse]]
    ) -> StreamResponse:
        if (request.content_length or 0) > self._limits.body_bytes:
            metrics.WEB_REFUSED.labels("body").inc()
            raise HTTPRequestEntityTooLarge(self._limits.body_bytes, request.content_length or 0)
        if request.headers.get("Content-Encoding", _PLAIN).strip().lower() != _PLAIN:
            metrics.WEB_REFUSED.labels("body").inc()
            raise HTTPUnsupportedMediaType(text="the body must not be compressed")
        return await handler(request)
