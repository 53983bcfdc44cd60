"""Connections to one server, and the calls that use them."""

from __future__ import annotations

import asyncio
import time
from itertools import islice, takewhile
from typing import Final, cast

from notify_streams.delivery.providers.config import ProviderConfig
from notify_streams.delivery.providers.http.authorities import Authorities
from notify_streams.delivery.providers.http.connection import Connection
from notify_streams.delivery.providers.http.name_lookups import NameLookups
from notify_streams.delivery.providers.http.opening import Opener
from notify_streams.delivery.providers.http.request_head import Server
from notify_streams.delivery.providers.http_responses import CONNECT_TIMEOUT, NO_CONNECTION, HttpResponse, NoResponse

#: connections that are opened at the same time ahead of calls; more would delay each other
_WARM_UP_CONCURRENCY: Final = 8
#: The same for calls. A handshake takes 1 ms of CPU on each side: hundreds at once would all be too late for their calls, and be repeated.
MAX_OPENING: Final = 64


class _Call:
    """A request and its result."""

    __slots__ = ("connection", "end_by", "request", "result", "start_by")

    def __init__(
        self, request: bytes, result: asyncio.Future[HttpResponse | NoResponse], config: ProviderConfig
    ) -> None:
        now = result.get_loop().time()
        self.request = request
        self.result = result
        self.connection: Connection | None = None
        self.start_by = now + min(config.start_within_s, config.timeout_s)
        self.end_by = now + config.timeout_s


class ConnectionPool:
    """At most `max_in_flight` connections; the last one used is used next, so that the others become idle.

    A call takes a free connection, or waits until one is opened or becomes free, the first call first. At most `MAX_OPENING` are
    opened at the same time; meanwhile the calls that wait use the open ones as these become free. One timer serves all
    time limits: all calls have the same, so the oldest call is the next to reach one.
    """

    def __init__(
        self,
        server: Server,
        config: ProviderConfig,
        authorities: Authorities,
        *,
        public_only: bool = False,
        lookups: NameLookups | None = None,
    ) -> None:
        self._config = config
        self._loop = asyncio.get_running_loop()
        self._opener = Opener(server, authorities, public_only=public_only, lookups=lookups)
        self._opening: set[asyncio.Task[bool]] = set()
        #: open connections, each with its call; None: idle
        self._connections: dict[Connection, _Call | None] = {}
        #: the last one was used last
        self._idle: list[Connection] = []
        #: from the oldest to the newest
        self._calls: dict[_Call, None] = {}
        #: those of `_calls` that have no connection
        self._waiting: dict[_Call, None] = {}
        self._timer: asyncio.Handle | None = None
        #: When it is due. uvloop's handle of a timer that is due at once does not know it.
        self._timer_at = 0.0
        #: The last connection was not open in time.
        self._timed_out = False
        self._closed = False

    @property
    def size(self) -> int:
        """Connections that are open or being opened."""
        return len(self._connections) + len(self._opening)

    @property
    def is_busy(self) -> bool:
        """A call is in progress."""
        return bool(self._calls)

    async def call(self, request: bytes) -> HttpResponse | NoResponse:
        """Send a request and return its response."""
        call = _Call(request, self._loop.create_future(), self._config)
        self._calls[call] = None
        while self._idle:
            connection = self._idle.pop()
            if connection.is_free():
                self._send(connection, call)
                break
        else:
            self._waiting[call] = None
            self._open_for_waiting()
        self._wake_at(call.start_by if call in self._waiting else call.end_by)
        try:
            return await call.result
        except asyncio.CancelledError:
            self._give_up(call, NoResponse("CancelledError", begun=True))
            raise

    async def warm_up(self, count: int) -> None:
        """Open connections until there are `count`, or as many as the limit allows, or one cannot be opened."""
        count = min(count, self._config.max_in_flight)

        async def open_some() -> None:
            while not self._closed and len(self._connections) + len(self._opening) < count:
                task = self._start_opening()
                await asyncio.wait((task,))
                if task.cancelled() or not task.result():
                    break

        await asyncio.gather(*(open_some() for _ in range(_WARM_UP_CONCURRENCY)))

    async def close(self) -> None:
        """End all calls, and close all connections."""
        self._closed = True
        for call in tuple(self._calls):
            self._finish(call, NoResponse("ClientClosed", begun=call not in self._waiting))
        for task in self._opening:
            task.cancel()
        self._opener.close()
        await asyncio.gather(*self._opening, return_exceptions=True)
        for connection in tuple(self._connections):
            self._drop(connection)
        if self._timer is not None:
            self._timer.cancel()
        # The event loop closes sockets in its next round.
        await asyncio.sleep(0)

    # Called by connections.

    def responded(self, connection: Connection, response: HttpResponse) -> None:
        call = self._connections.pop(connection)
        assert call is not None
        self._finish(call, response)
        self._add(connection)

    def lost(self, connection: Connection, reason: str) -> None:
        call = self._connections.get(connection)
        self._drop(connection)
        if call is not None:
            self._finish(call, NoResponse(reason, begun=True))
        self._open_for_waiting()

    def _add(self, connection: Connection) -> None:
        """A connection is open and has no request, or is closed."""
        if self._waiting:
            # The timer has not ended them yet if the event loop stood still.
            self._end_late(time.monotonic())
        if self._waiting and connection.is_free():
            self._send(connection, next(iter(self._waiting)))
        elif not connection.closed:
            connection.idle_since = self._loop.time()
            self._connections[connection] = None
            self._idle.append(connection)
            self._wake_at(connection.idle_since + self._config.idle_s)
        else:
            self._open_for_waiting()

    def _send(self, connection: Connection, call: _Call) -> None:
        self._waiting.pop(call, None)
        self._connections[connection] = call
        call.connection = connection
        connection.send(call.request)

    def _finish(self, call: _Call, result: HttpResponse | NoResponse) -> None:
        self._calls.pop(call, None)
        self._waiting.pop(call, None)
        if not call.result.done():
            call.result.set_result(result)

    def _give_up(self, call: _Call, result: NoResponse) -> None:
        """End a call. If it has a connection, the response to come makes that one useless."""
        self._finish(call, result)
        if call.connection is not None and self._connections.get(call.connection) is call:
            self._drop(call.connection)
        self._open_for_waiting()

    def _drop(self, connection: Connection) -> None:
        connection.close()
        if self._connections.pop(connection, None) is None and connection in self._idle:
            self._idle.remove(connection)

    def _open_for_waiting(self) -> None:
        while len(self._opening) < len(self._waiting) and self._has_room():
            self._start_opening()

    def _has_room(self) -> bool:
        return self.size < self._config.max_in_flight and len(self._opening) < MAX_OPENING

    def _start_opening(self) -> asyncio.Task[bool]:
        task = self._loop.create_task(self._open())
        self._opening.add(task)
        return task

    async def _open(self) -> bool:
        """Open a connection for the call that waits longest, or for later ones; False if that failed."""
        failure: Exception | None = None
        try:
            async with asyncio.timeout(self._config.connect_s):
                connection = await self._opener.open(self)
        except (OSError, ValueError) as error:
            failure = error
        finally:
            self._opening.discard(cast("asyncio.Task[bool]", asyncio.current_task()))
        self._timed_out = isinstance(failure, TimeoutError)
        if failure is None:
            self._add(connection)
            self._open_for_waiting()
            return True
        # A call that began to wait later than this attempt has a time limit of its own.
        if not self._timed_out and len(self._waiting) > len(self._opening):
            self._finish(next(iter(self._waiting)), NoResponse(type(failure).__name__, begun=False))
        self._open_for_waiting()
        return False

    # Time limits.

    def _wake_at(self, when: float) -> None:
        if self._timer is not None:
            if self._timer_at <= when:
                return
            self._timer.cancel()
        self._timer_at = when
        self._timer = self._loop.call_at(when, self._apply_limits)

    def _end_late(self, now: float) -> None:
        """End the calls that have waited for a connection until `now`, or longer."""
        for call in tuple(takewhile(lambda call: call.start_by <= now, self._waiting)):
            self._finish(call, NoResponse(CONNECT_TIMEOUT if self._timed_out else NO_CONNECTION, begun=False))

    def _apply_limits(self) -> None:
        """End what has reached its limit; set the timer for what reaches its limit next."""
        self._timer = None
        now = self._loop.time()
        self._end_late(now)
        for call in tuple(takewhile(lambda call: call.end_by <= now, self._calls)):
            self._give_up(call, NoResponse("TimeoutError", begun=True))
        for connection in tuple(takewhile(lambda one: one.idle_since + self._config.idle_s <= now, self._idle)):
            self._drop(connection)
        for call in islice(self._waiting, 1):
            self._wake_at(call.start_by)
        for call in islice(self._calls, 1):
            self._wake_at(call.end_by)
        for connection in islice(self._idle, 1):
            self._wake_at(connection.idle_since + self._config.idle_s)
