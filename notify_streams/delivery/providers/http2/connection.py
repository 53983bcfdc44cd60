"""One HTTP/2 connection, with a stream for each call."""

from __future__ import annotations

import asyncio
import ssl
import time
from contextlib import suppress
from typing import Final, Protocol, cast

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings
from h2.errors import ErrorCodes
from hpack import HeaderTuple

from notify_streams.delivery.providers.http2.frames import FrameSplitter, GoAway
from notify_streams.delivery.providers.http_responses import HttpResponse, retry_after_s

PROTOCOL: Final = "h2"
#: bytes of a response's headers, and of its body
_MAX_HEADERS: Final = 64 * 1024
_MAX_BODY: Final = 32 * 1024
#: A connection with calls that is silent for so long is pinged, and is lost two such times later without any byte.
_SILENT_S: Final = 1.0
_MAX_UNANSWERED: Final = 2
#: the last stream number of a client is 2^31 - 1
_LAST_STREAM: Final = 2**31 - 3
_PING: Final = b"notify00"
#: Headers are valid as they come: the checks of `h2` would cost a third of a call.
_CONFIGURATION: Final = h2.config.H2Configuration(
    client_side=True, header_encoding=None, validate_outbound_headers=False, normalize_outbound_headers=False
)


class Call:
    """A request, and its response so far."""

    __slots__ = ("begun", "body", "connection", "headers", "received", "retry_after", "status", "stream_id", "unsent")

    def __init__(self, headers: list[HeaderTuple], body: bytes) -> None:
        self.headers = headers
        self.body = body
        #: how often it was begun
        self.begun = 0
        self.connection: Connection | None = None
        self.stream_id = 0
        self.unsent = b""
        self.status = 0
        self.retry_after: str | None = None
        self.received = b""


class Owner(Protocol):
    """Learns the end of each call, once for each `begin`."""

    def responded(self, call: Call, response: HttpResponse) -> None:
        """The response is complete."""

    def failed(self, call: Call, reason: str, *, processed: bool) -> None:
        """There is no response. `processed` is False if the server says that it ignored the request."""

    def changed(self, connection: Connection) -> None:
        """The connection may take another call, or ended."""


class Connection(asyncio.Protocol):
    """A client's connection. `tls` says whether ALPN must have chosen HTTP/2."""

    def __init__(self, owner: Owner, *, tls: bool, idle_s: float) -> None:
        self.closed = False
        #: the server wants no further streams
        self.draining = False
        self._owner = owner
        self._tls = tls
        self._idle_s = idle_s
        self._loop = asyncio.get_running_loop()
        self._h2 = h2.connection.H2Connection(_CONFIGURATION)
        self._splitter = FrameSplitter()
        self._calls: dict[int, Call] = {}
        self._transport: asyncio.Transport | None = None
        self._writable = True
        self._heard_at = self._idle_since = self._loop.time()
        #: seconds since a ping without any byte
        self._unanswered: int | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._ready: asyncio.Future[None] = self._loop.create_future()
        # A cancelled opening reads no error.
        self._ready.add_done_callback(lambda ready: ready.cancelled() or ready.exception())
        self._lost: asyncio.Future[None] = self._loop.create_future()

    async def ready(self) -> None:
        """Wait for the server's settings.

        Raises:
            OSError: the connection ended before; an `ssl.SSLError` if the server does not speak HTTP/2.
        """
        await self._ready

    def can_begin(self, size: int) -> bool:
        """Whether a request with a body of `size` bytes can be sent now: within the server's limit of streams and its window."""
        return (
            self._writable
            and not self.draining
            and not self.closed
            and self._ready.done()
            and len(self._calls) < self._h2.remote_settings.max_concurrent_streams
            and self._h2.outbound_flow_control_window >= size
            and self._h2.highest_outbound_stream_id < _LAST_STREAM
        )

    def begin(self, call: Call) -> None:
        """Send a request, if `can_begin`."""
        call.begun += 1
        call.status, call.retry_after, call.received = 0, None, b""
        call.connection = self
        try:
            call.stream_id = self._h2.get_next_available_stream_id()
            self._calls[call.stream_id] = call
            self._h2.send_headers(call.stream_id, call.headers, end_stream=not call.body)
            call.unsent = call.body
            self._send_body(call)
        except h2.exceptions.ProtocolError:
            self._lose("BadState")
        self._flush()

    def cancel(self, call: Call) -> None:
        """Abandon a call; the owner learns nothing of it."""
        if self._calls.pop(call.stream_id, None) is not None and not self.closed:
            self._reset(call.stream_id)
            self._flush()
            self._ended_stream()

    def drain(self) -> None:
        """Take no further call, and close when the last one has ended."""
        self.draining = True
        self._ended_stream()

    def close(self) -> list[Call]:
        """Close it. Returns the calls in progress, which are given up; the owner learns nothing of them."""
        calls, self._calls = list(self._calls.values()), {}
        if self.closed:
            return calls
        self.closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            self._h2.close_connection()
            self._flush()
            self._transport.close()
        return calls

    async def wait_closed(self) -> None:
        """Wait until the event loop has closed the socket. A server that does not answer the end of TLS is left after 0.1 s."""
        if self._transport is None:
            return
        try:
            async with asyncio.timeout(0.1):
                await asyncio.shield(self._lost)
        except TimeoutError:
            self._transport.abort()

    # Called by the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        if self._tls and transport.get_extra_info("ssl_object").selected_alpn_protocol() != PROTOCOL:
            self._fail(ssl.SSLError("the server does not speak HTTP/2"))
            return
        self._h2.local_settings = h2.settings.Settings(
            client=True,
            initial_values={
                h2.settings.SettingCodes.ENABLE_PUSH: 0,
                h2.settings.SettingCodes.MAX_HEADER_LIST_SIZE: _MAX_HEADERS,
            },
        )
        self._h2.initiate_connection()
        self._flush()
        self._timer = self._loop.call_later(_SILENT_S, self._check)

    def data_received(self, data: bytes) -> None:
        if self.closed:
            return
        self._heard_at, self._unanswered = self._loop.time(), None
        try:
            for piece in self._splitter.feed(data):
                if isinstance(piece, GoAway):
                    self._go_away(piece)
                else:
                    for event in self._h2.receive_data(piece):
                        self._handle(event)
        except (h2.exceptions.ProtocolError, ValueError):
            self._flush()  # the GOAWAY that says why
            self._lose("BadResponse")
            return
        self._flush()
        self._owner.changed(self)

    def pause_writing(self) -> None:
        self._writable = False

    def resume_writing(self) -> None:
        self._writable = True
        self._owner.changed(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._lost.done():
            self._lost.set_result(None)
        self._fail(exc or ConnectionResetError("the server closed the connection"))

    def _handle(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.RemoteSettingsChanged):
            if not self._ready.done():
                self._ready.set_result(None)
            self._send_bodies()
        elif isinstance(event, h2.events.WindowUpdated):
            self._send_bodies()
        elif isinstance(event, h2.events.DataReceived):
            self._h2.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id or 0)
            if (call := self._calls.get(event.stream_id or 0)) is not None:
                call.received += event.data or b""
                if len(call.received) > _MAX_BODY:
                    self._reset(call.stream_id)
                    self._end(call, "BadResponse")
        elif isinstance(event, h2.events.ResponseReceived):
            if (call := self._calls.get(event.stream_id or 0)) is not None:
                headers = {bytes(name): bytes(value) for name, value in event.headers or ()}
                call.status = int(headers[b":status"])
                retry_after = headers.get(b"retry-after")
                call.retry_after = None if retry_after is None else retry_after.decode("latin-1")
        elif isinstance(event, h2.events.StreamEnded):
            self._respond(event.stream_id or 0)
        elif isinstance(event, h2.events.StreamReset) and (call := self._calls.get(event.stream_id or 0)) is not None:
            self._end(call, "StreamReset", processed=event.error_code != ErrorCodes.REFUSED_STREAM)

    def _go_away(self, frame: GoAway) -> None:
        self.draining = True
        for call in [call for number, call in self._calls.items() if number > frame.last_stream_id]:
            self._end(call, "GoAway", processed=False)
        self._ended_stream()

    def _respond(self, stream_id: int) -> None:
        call = self._calls.pop(stream_id, None)
        if call is None:
            return
        if call.unsent:  # the server needs no more of the request
            self._reset(stream_id)
        self._owner.responded(
            call, HttpResponse(call.status, retry_after_s(call.retry_after, time.time()), call.received)
        )
        self._ended_stream()

    def _end(self, call: Call, reason: str, *, processed: bool = True) -> None:
        del self._calls[call.stream_id]
        self._owner.failed(call, reason, processed=processed)
        self._ended_stream()

    def _ended_stream(self) -> None:
        if not self._calls:
            self._idle_since = self._loop.time()
            if self.draining:
                self.close()
                self._owner.changed(self)

    def _reset(self, stream_id: int) -> None:
        with suppress(h2.exceptions.ProtocolError):  # it has ended already
            self._h2.reset_stream(stream_id, ErrorCodes.CANCEL)

    def _send_bodies(self) -> None:
        for call in self._calls.values():
            if call.unsent:
                self._send_body(call)

    def _send_body(self, call: Call) -> None:
        """As much as the server's windows allow."""
        while call.unsent:
            size = min(self._h2.local_flow_control_window(call.stream_id), self._h2.max_outbound_frame_size)
            if size <= 0:
                return
            part, call.unsent = call.unsent[:size], call.unsent[size:]
            self._h2.send_data(call.stream_id, part, end_stream=not call.unsent)

    def _flush(self) -> None:
        if self._transport is not None and (data := self._h2.data_to_send()) and not self._transport.is_closing():
            self._transport.write(data)

    def _check(self) -> None:
        """Each second: close an idle connection, ping a silent one, leave one that does not answer."""
        now = self._loop.time()
        if not self._calls:
            if self._ready.done() and now - self._idle_since >= self._idle_s:
                self.close()
                self._owner.changed(self)
                return
        elif self._unanswered is not None:
            self._unanswered += 1
            if self._unanswered >= _MAX_UNANSWERED:
                self._lose("NoPingAck")
                return
        elif now - self._heard_at >= _SILENT_S:
            self._unanswered = 0
            self._h2.ping(_PING)
            self._flush()
        self._timer = self._loop.call_later(_SILENT_S, self._check)

    def _fail(self, error: Exception) -> None:
        if not self._ready.done():
            self._ready.set_exception(error)
        self._lose(type(error).__name__)

    def _lose(self, reason: str) -> None:
        if self.closed:
            return
        self.closed = True
        if self._timer is not None:
            self._timer.cancel()
        if not self._ready.done():
            self._ready.set_exception(ConnectionResetError(reason))
        calls, self._calls = self._calls, {}
        for call in calls.values():
            self._owner.failed(call, reason, processed=True)
        if self._transport is not None:
            self._transport.abort()
        self._owner.changed(self)
