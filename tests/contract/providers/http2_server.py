"""An HTTP/2 server that does with each request what a test says, and keeps what it received."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import h2.events
from h2.settings import SettingCodes

from devtools.sandbox.http2_server import Http2Connection, tls_of


class Peer(Http2Connection):
    """The server's side of a connection; `requests` keeps all of them."""

    def __init__(self, server: Http2Server) -> None:
        super().__init__(lambda peer, stream: server.on_request(peer, stream), server.settings)
        self.server = server
        #: of the server's connections, from 1
        self.number = 0
        self.resets: list[int] = []
        #: received bytes that the client may not send again yet
        self.withheld = 0
        self.most_open = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.server.peers.append(self)
        self.number = len(self.server.peers)
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if not self.server.silent:
            super().data_received(data)

    def broken(self, error: Exception) -> None:
        self.server.faults.append(repr(error))
        self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self.server.ended += 1

    def handle(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.RequestReceived):
            self.most_open = max(self.most_open, self.h2.open_inbound_streams)
        elif isinstance(event, h2.events.StreamReset):
            self.resets.append(event.stream_id or 0)
        super().handle(event)

    def received(self, stream: int, size: int) -> None:
        if self.server.withhold:
            self.withheld += size
        else:
            super().received(stream, size)

    def forget(self, stream: int) -> None:
        pass

    def give_back(self) -> None:
        """Let the client send as much again as was withheld."""
        self.h2.increment_flow_control_window(self.withheld)
        self.withheld = 0
        self.flush()


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
    on_request: OnRequest, certificate: Path, *, protocol: str = "h2", **but: object
) -> AsyncIterator[Http2Server]:
    """With TLS, on a free port of 127.0.0.1. A client must have kept to the protocol."""
    state = Http2Server(on_request, **but)  # type: ignore[arg-type]
    context = tls_of(certificate, protocol)
    server = await asyncio.get_running_loop().create_server(lambda: Peer(state), "127.0.0.1", 0, ssl=context)
    state.port = server.sockets[0].getsockname()[1]
    try:
        yield state
        assert state.faults == []
    finally:
        server.close()
        for peer in state.peers:
            peer.transport.abort()
        await asyncio.sleep(0)
