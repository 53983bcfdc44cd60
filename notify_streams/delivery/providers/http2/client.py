"""HTTP/2 POST to one server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from hpack import HeaderTuple, NeverIndexedHeaderTuple

from notify_streams import tasks
from notify_streams.delivery.providers.config import ProviderConfig
from notify_streams.delivery.providers.http.authorities import Authorities
from notify_streams.delivery.providers.http.dialing import Dialer
from notify_streams.delivery.providers.http.request_head import server_and_target
from notify_streams.delivery.providers.http2.connection import PROTOCOL, Call, Connection
from notify_streams.delivery.providers.http_responses import CONNECT_TIMEOUT, NO_CONNECTION, HttpResponse, NoResponse

_MAX_CONNECTIONS: Final = 8
#: A call that the server ignored is begun so often in all.
_MAX_BEGUN: Final = 3


class _Pending(Call):
    """A call, its result and its time limits (loop time)."""

    __slots__ = ("end_by", "era", "result", "start_by", "timer")

    def __init__(self, headers: list[HeaderTuple], body: bytes, config: ProviderConfig, era: int) -> None:
        super().__init__(headers, body)
        #: See `Http2Client.leave_connections`.
        self.era = era
        loop = asyncio.get_running_loop()
        self.result: asyncio.Future[HttpResponse | NoResponse] = loop.create_future()
        self.start_by = loop.time() + min(config.start_within_s, config.timeout_s)
        self.end_by = loop.time() + config.timeout_s
        self.timer: asyncio.TimerHandle | None = None


class Http2Client:
    """At most 8 connections; a call begins on one that has a free stream, or waits for one, the first call first.

    At most `max_in_flight` calls are begun at a time. A further connection is opened while calls wait, one at a time. A request
    that the server says it ignored (GOAWAY, REFUSED_STREAM) is begun again as if it had not been. No other request is repeated.
    """

    def __init__(self, url: str, config: ProviderConfig) -> None:
        self._server, _ = server_and_target(url)
        self._authority = urlsplit(url).netloc
        self._config = config
        self._dialer = Dialer(self._server)
        tls = self._server.tls
        self._authorities = Authorities(config.ca_file, config.credential_check_s, PROTOCOL) if tls else None
        self._connections: list[Connection] = []
        self._waiting: dict[_Pending, None] = {}
        #: begun and without a result
        self._begun: set[_Pending] = set()
        self._opening: asyncio.Task[None] | None = None
        #: The last connection was not open in time.
        self._timed_out = False
        self._started = False
        #: How often the connections were left.
        self._era = 0

    async def start(self) -> None:
        """Read the certificates of the authorities, and follow their file; then open a connection in the background.

        Raises:
            OSError: `ca_file` cannot be read or has no certificate.
        """
        if self._authorities is not None:
            await self._authorities.start()
        self._started = True
        self._open()

    async def close(self) -> None:
        """End the calls in progress with `NoResponse`, and close all connections."""
        self._started = False
        if self._authorities is not None:
            await self._authorities.close()
        self._dialer.close()
        await tasks.stop([self._opening])
        for call in tuple(self._waiting):
            self._finish(call, NoResponse("ClientClosed", begun=False))
        connections, self._connections = self._connections, []
        for connection in connections:
            for given_up in connection.close():
                assert isinstance(given_up, _Pending)
                self._finish(given_up, NoResponse("ClientClosed", begun=True))
        await asyncio.gather(*(connection.wait_closed() for connection in connections))

    async def post(
        self, path: str, headers: Mapping[str, str], varying: Mapping[str, str], body: bytes
    ) -> HttpResponse | NoResponse:
        """Send one POST request. Names are in lower case; names and values are printable ASCII without blanks at their ends.

        `headers` are mostly the same as before: the server keeps them in its table (HPACK), so they cost a byte each. The path and
        the headers in `varying` are kept out of the table. The response has at most 64 KiB of headers and 32 KiB of body.

        Raises:
            RuntimeError: the client was not started.
        """
        if not self._started:
            raise RuntimeError("the HTTP/2 client is not started: call start() first")
        head = [
            HeaderTuple(":method", "POST"),
            HeaderTuple(":scheme", "https" if self._server.tls else "http"),
            HeaderTuple(":authority", self._authority),
            NeverIndexedHeaderTuple(":path", path),
            *(HeaderTuple(name, value) for name, value in headers.items()),
            *(NeverIndexedHeaderTuple(name, value) for name, value in varying.items()),
        ]
        call = _Pending(head, body, self._config, self._era)
        self._waiting[call] = None
        self._limit(call, call.start_by)
        self._dispatch()
        try:
            return await call.result
        except asyncio.CancelledError:
            self._give_up(call)
            raise
        finally:
            if call.timer is not None:
                call.timer.cancel()

    def leave_connections(self) -> None:
        """Begin no further call on the connections that are open; those under way get their responses.

        No earlier call begins on a later connection either: those that wait end as not begun.
        """
        self._era += 1
        for call in tuple(self._waiting):
            self._finish(call, NoResponse(NO_CONNECTION, begun=False))
        for connection in tuple(self._connections):
            connection.drain()

    # Called by connections.

    def responded(self, call: Call, response: HttpResponse) -> None:
        assert isinstance(call, _Pending)
        self._finish(call, response)

    def failed(self, call: Call, reason: str, *, processed: bool) -> None:
        assert isinstance(call, _Pending)
        call.connection = None
        self._begun.discard(call)
        if processed:
            self._finish(call, NoResponse(reason, begun=True))
        elif call.era != self._era:
            self._finish(call, NoResponse(NO_CONNECTION, begun=False))
        elif call.begun >= _MAX_BEGUN or asyncio.get_running_loop().time() >= call.start_by:
            self._finish(call, NoResponse(reason, begun=False))
        else:
            self._waiting = {call: None, **self._waiting}
            self._limit(call, call.start_by)

    def changed(self, connection: Connection) -> None:
        if connection.closed and connection in self._connections:
            self._connections.remove(connection)
        self._dispatch()

    def _dispatch(self) -> None:
        """Begin the calls that wait, as far as the connections take them; then open another connection."""
        now = time.monotonic()
        while self._waiting and (late := next(iter(self._waiting))).start_by <= now:
            # Its timer has not ended it yet if the event loop stood still.
            self._finish(late, NoResponse(CONNECT_TIMEOUT if self._timed_out else NO_CONNECTION, begun=False))
        while self._waiting and len(self._begun) < self._config.max_in_flight:
            call = next(iter(self._waiting))
            connection = next((one for one in self._connections if one.can_begin(len(call.body))), None)
            if connection is None:
                self._open()
                break
            del self._waiting[call]
            self._begun.add(call)
            self._limit(call, call.end_by)
            connection.begin(call)

    def _open(self) -> None:
        usable = sum(not connection.draining for connection in self._connections)
        if self._started and self._opening is None and usable < _MAX_CONNECTIONS:
            self._opening = asyncio.create_task(self._open_one())

    async def _open_one(self) -> None:
        failure: Exception | None = None
        try:
            async with asyncio.timeout(self._config.connect_s):
                self._connections.append(await self._connect())
        except (OSError, ValueError) as error:
            failure = error
        finally:
            self._opening = None
        self._timed_out = isinstance(failure, TimeoutError)
        # Calls that began to wait later than this attempt have time limits of their own.
        if failure is not None and not self._timed_out:
            for call in tuple(self._waiting):
                self._finish(call, NoResponse(type(failure).__name__, begun=False))
        self._dispatch()

    async def _connect(self) -> Connection:
        sock = await self._dialer.connect()
        connection = Connection(self, tls=self._server.tls, idle_s=self._config.idle_s)
        host = self._server.host if self._server.tls else None
        tls = None if self._authorities is None else self._authorities.context
        try:
            await asyncio.get_running_loop().create_connection(
                lambda: connection, sock=sock, ssl=tls, server_hostname=host
            )
            await connection.ready()
            if connection.closed or connection.draining:
                raise ConnectionResetError("the server closed the connection at once")
        except BaseException:
            connection.close()
            raise
        return connection

    # Time limits.

    def _limit(self, call: _Pending, when: float) -> None:
        if call.timer is not None:
            call.timer.cancel()
        call.timer = asyncio.get_running_loop().call_at(when, self._expire, call)

    def _expire(self, call: _Pending) -> None:
        begun = call not in self._waiting
        self._give_up(call)
        not_begun = CONNECT_TIMEOUT if self._timed_out else NO_CONNECTION
        self._finish(call, NoResponse("TimeoutError" if begun else not_begun, begun=begun))

    def _give_up(self, call: _Pending) -> None:
        self._waiting.pop(call, None)
        self._begun.discard(call)
        if call.connection is not None:
            call.connection.cancel(call)
        self._dispatch()

    def _finish(self, call: _Pending, result: HttpResponse | NoResponse) -> None:
        self._waiting.pop(call, None)
        self._begun.discard(call)
        call.connection = None
        if not call.result.done():
            call.result.set_result(result)
