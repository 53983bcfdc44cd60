"""The server's side of an HTTP/2 connection.

Complete requests go to a function, which responds to their streams.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings
from h2.errors import ErrorCodes
from h2.settings import SettingCodes

#: Bytes of a body that are kept, at least.
_LARGEST_BODY: Final = 64 * 1024
_FRAME: Final = 16_384
_GOAWAY: Final = b"\x07\x00" + bytes(4)


@dataclass
class Request:
    #: As they were sent; a name may be there twice.
    fields: list[tuple[str, str]]
    body: bytes = b""
    complete: bool = False

    @property
    def headers(self) -> dict[str, str]:
        return dict(self.fields)


class Http2Connection(asyncio.Protocol):
    """Ends when the client breaks the protocol. A response to a client that has reset the stream, or has left, is dropped."""

    def __init__(self, on_request: Callable[[Any, int], None], settings: Mapping[SettingCodes, int]) -> None:
        """`on_request` gets this connection and the number of a stream whose request is complete."""
        self.on_request = on_request
        #: By stream: those without a response.
        self.requests: dict[int, Request] = {}
        self.transport: asyncio.Transport
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        self.h2.local_settings = h2.settings.Settings(client=False, initial_values=dict(settings))
        #: GOAWAY was sent; further streams are ignored.
        self._is_leaving = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # uvloop's transports are none of asyncio's classes
        self.h2.initiate_connection()
        self.flush()

    def data_received(self, data: bytes) -> None:
        try:
            events = self.h2.receive_data(data)
        except (h2.exceptions.ProtocolError, UnicodeDecodeError) as error:
            self.broken(error)
            return
        for event in events:
            self.handle(event)
        self.flush()

    def broken(self, error: Exception) -> None:
        """The client broke the protocol."""
        self.flush()  # the GOAWAY that says why
        self.transport.close()

    def handle(self, event: h2.events.Event) -> None:
        stream = getattr(event, "stream_id", 0) or 0
        request = self.requests.get(stream)
        if isinstance(event, h2.events.RequestReceived):
            if not self._is_leaving:
                self.requests[stream] = Request([(str(name), str(value)) for name, value in event.headers or ()])
        elif isinstance(event, h2.events.DataReceived):
            if request is not None and len(request.body) <= _LARGEST_BODY:
                request.body += event.data or b""
            self.received(stream, event.flow_controlled_length or 0)
        elif isinstance(event, h2.events.StreamEnded):
            if request is not None:
                request.complete = True
                self.on_request(self, stream)
        elif isinstance(event, h2.events.StreamReset):
            self.forget(stream)
        elif isinstance(event, h2.events.ConnectionTerminated):
            self.transport.close()

    def received(self, stream: int, size: int) -> None:
        """Let the client send `size` bytes more."""
        if size:
            self.h2.acknowledge_received_data(size, stream)

    def forget(self, stream: int) -> None:
        """The stream has ended."""
        self.requests.pop(stream, None)
        if self._is_leaving and not self.requests:
            self.transport.close()

    def respond(self, stream: int, status: int = 200, body: bytes = b"ok", **headers: str) -> None:
        """Send a response; `_` in a header's name stands for `-`."""
        fields = [(name.replace("_", "-"), value) for name, value in headers.items()]
        with suppress(h2.exceptions.ProtocolError):  # the client has left
            self.h2.send_headers(stream, [(":status", str(status)), *fields], end_stream=not body)
            while body:
                part, body = body[:_FRAME], body[_FRAME:]
                self.h2.send_data(stream, part, end_stream=not body)
        self.flush()
        self.forget(stream)

    def reset(self, stream: int, code: ErrorCodes) -> None:
        with suppress(h2.exceptions.ProtocolError):  # the client has left
            self.h2.reset_stream(stream, code)
        self.flush()
        self.forget(stream)

    def allow_streams(self, count: int) -> None:
        """Set how many streams the client may have open."""
        with suppress(h2.exceptions.ProtocolError):  # the client has left
            self.h2.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: count})
        self.flush()

    def leave(self) -> None:
        """Send GOAWAY: the requests so far are answered, later ones ignored; then the connection is closed."""
        if not self._is_leaving:
            self._is_leaving = True
            self.go_away(self.h2.highest_inbound_stream_id)
            if not self.requests:
                self.transport.close()

    def go_away(self, last_stream: int) -> None:
        """Only the frame; `h2` itself would send nothing after it."""
        frame = last_stream.to_bytes(4, "big") + bytes(4)
        self.raw(len(frame).to_bytes(3, "big") + _GOAWAY + frame)

    def raw(self, data: bytes) -> None:
        self.flush()
        self.transport.write(data)

    def flush(self) -> None:
        if data := self.h2.data_to_send():
            self.transport.write(data)


def tls_of(certificate: Path, protocol: str = "h2") -> ssl.SSLContext:
    """For a server that speaks `protocol` (ALPN). `certificate` has the key, too (PEM)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.set_alpn_protocols([protocol])
    return context
