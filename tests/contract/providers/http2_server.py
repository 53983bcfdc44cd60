"""An HTTP/2 server that does with each request what a test says, and is strict about the client's frames."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings
from h2.errors import ErrorCodes
from h2.settings import SettingCodes


@dataclass
class Request:
    headers: dict[str, str]
    body: bytes = b""
    complete: bool = False


class Peer(asyncio.Protocol):
    """The server's side of a connection."""

    def __init__(self, server: Http2Server) -> None:
        self.server = server
        #: of the server's connections, from 1
        self.number = 0
        #: by stream
        self.requests: dict[int, Request] = {}
        self.resets: list[int] = []
        #: received bytes that the client may not send again yet
        self.withheld = 0
        self.most_open = 0
        self.transport: asyncio.Transport
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        self.h2.local_settings = h2.settings.Settings(client=False, initial_values=dict(server.settings))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.server.peers.append(self)
        self.number = len(self.server.peers)
        self.h2.initiate_connection()
        self.flush()

    def data_received(self, data: bytes) -> None:
        if self.server.silent:
            return
        try:
            events = self.h2.receive_data(data)
        except h2.exceptions.ProtocolError as error:
            self.server.faults.append(repr(error))
            self.transport.abort()
            return
        for event in events:
            self.handle(event)
        self.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self.server.ended += 1

    def handle(self, event: h2.events.Event) -> None:
        stream = getattr(event, "stream_id", 0) or 0
        if isinstance(event, h2.events.RequestReceived):
            headers = {str(name): str(value) for name, value in event.headers or ()}
            self.requests[stream] = Request(headers)
            self.most_open = max(self.most_open, self.h2.open_inbound_streams)
        elif isinstance(event, h2.events.DataReceived):
            self.requests[stream].body += event.data or b""
            size = event.flow_controlled_length or 0
            if self.server.withhold:
                self.withheld += size
            elif size:
                self.h2.acknowledge_received_data(size, stream)
        elif isinstance(event, h2.events.StreamEnded):
            self.requests[stream].complete = True
            self.server.on_request(self, stream)
        elif isinstance(event, h2.events.StreamReset):
            self.resets.append(stream)
        elif isinstance(event, h2.events.ConnectionTerminated):
            self.transport.close()

    def give_back(self) -> None:
        """Let the client send as much again as was withheld."""
        self.h2.increment_flow_control_window(self.withheld)
        self.withheld = 0
        self.flush()

    def respond(self, stream: int, status: int = 200, body: bytes = b"ok", **headers: str) -> None:
        fields = [(name.replace("_", "-"), value) for name, value in headers.items()]
        self.h2.send_headers(stream, [(":status", str(status)), *fields])
        while len(body) > 16_384:
            self.h2.send_data(stream, body[:16_384])
            body = body[16_384:]
        self.h2.send_data(stream, body, end_stream=True)
        self.flush()

    def reset(self, stream: int, code: ErrorCodes) -> None:
        self.h2.reset_stream(stream, code)
        self.flush()

    def go_away(self, last_stream: int) -> None:
        """As a server that finishes the streams up to `last_stream`; `h2` itself would send nothing more."""
        frame = last_stream.to_bytes(4, "big") + bytes(4)
        self.raw(len(frame).to_bytes(3, "big") + b"\x07\x00" + bytes(4) + frame)

    def raw(self, data: bytes) -> None:
        self.flush()
        self.transport.write(data)

    def flush(self) -> None:
        if data := self.h2.data_to_send():
            self.transport.write(data)


OnRequest = Callable[[Peer, int], None]


@dataclass
class Http2Server:
    on_request: OnRequest
    settings: dict[SettingCodes, int] = field(default_factory=dict)
    #: give no window back
    withhold: bool = False
    #: answer nothing, not even pings
    silent: bool = False
    port: int = 0
    peers: list[Peer] = field(default_factory=list)
    #: connections that ended
    ended: int = 0
    #: what clients did against the protocol
    faults: list[str] = field(default_factory=list)

    @property
    def bodies(self) -> list[bytes]:
        return [request.body for peer in self.peers for request in peer.requests.values() if request.complete]


@asynccontextmanager
async def serve_http2(
    on_request: OnRequest, certificate: Path, *, protocol: str = "h2", port: int = 0, **but: object
) -> AsyncIterator[Http2Server]:
    """With TLS, on a port of 127.0.0.1; 0: a free one. A client must have kept to the protocol."""
    state = Http2Server(on_request, **but)  # type: ignore[arg-type]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.set_alpn_protocols([protocol])
    server = await asyncio.get_running_loop().create_server(lambda: Peer(state), "127.0.0.1", port, ssl=context)
    state.port = server.sockets[0].getsockname()[1]
    try:
        yield state
        assert state.faults == []
    finally:
        server.close()
        for peer in state.peers:
            peer.transport.abort()
        await asyncio.sleep(0)
