"""An HTTP server that does to each connection what a test says."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@dataclass
class Peer:
    """The server's side of a connection."""

    #: of the server's connections, from 1
    number: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    requests: list[tuple[int, bytes]]

    async def request(self) -> bytes:
        """The next request: head and body.

        Raises:
            EOFError: the client closed the connection.
        """
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = int(head.split(b"Content-Length: ")[1].split(b"\r\n")[0])
        request = head + await self.reader.readexactly(length)
        self.requests.append((self.number, request))
        return request

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def respond(self, data: bytes = OK) -> None:
        """Read a request and send `data`."""
        await self.request()
        await self.send(data)

    async def last_response(self, data: bytes = OK) -> None:
        """Read a request, and send `data` and the connection's end at the same time.

        Send nothing afterwards.
        """
        with socket.socket(fileno=os.dup(self.writer.get_extra_info("socket").fileno())) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
        await self.respond(data)

    async def end(self) -> None:
        """Wait until the client has closed the connection."""
        with suppress(OSError):
            while await self.reader.read(65536):
                pass

    def abort(self) -> None:
        self.writer.transport.abort()


Script = Callable[[Peer], Awaitable[None]]


async def respond_always(peer: Peer) -> None:
    while True:
        await peer.respond()


@dataclass
class ScriptedServer:
    """Closes each connection at the end of its script."""

    port: int = 0
    connections: int = 0
    #: number of the connection, and the request
    requests: list[tuple[int, bytes]] = field(default_factory=list)
    #: connections whose script ended
    ended: int = 0


@asynccontextmanager
async def serve(
    script: Script, certificate: Path | None = None, context: ssl.SSLContext | None = None, port: int = 0
) -> AsyncIterator[ScriptedServer]:
    """With TLS if there is a certificate, on a port of 127.0.0.1; 0: a free one. An error of the script fails the test."""
    state = ScriptedServer()
    if certificate is not None:
        context = context or ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
    tasks: set[asyncio.Task[None]] = set()
    defects: list[Exception] = []

    async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        state.connections += 1
        try:
            with suppress(EOFError, OSError, asyncio.CancelledError):
                await script(Peer(state.connections, reader, writer, state.requests))
        except Exception as error:
            defects.append(error)
        state.ended += 1
        writer.close()
        with suppress(OSError, asyncio.CancelledError):
            await writer.wait_closed()
        tasks.discard(task)

    server = await asyncio.start_server(run, "127.0.0.1", port, ssl=context, backlog=1024)
    state.port = server.sockets[0].getsockname()[1]
    try:
        yield state
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    if defects:
        raise ExceptionGroup("the script of the server failed", defects)
