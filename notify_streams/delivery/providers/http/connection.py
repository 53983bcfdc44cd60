"""One connection to a server, with at most one request at a time."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import Final, Protocol, cast

from notify_streams.delivery.providers.http.response_parser import ResponseParser
from notify_streams.delivery.providers.http.tls import Tls
from notify_streams.delivery.providers.http_responses import HttpResponse

_READ: Final = 16 * 1024


class Owner(Protocol):
    """Learns what becomes of a connection. Neither method may be called twice for one request."""

    def responded(self, connection: Connection, response: HttpResponse) -> None:
        """The request has its response. The connection is closed, or free."""

    def lost(self, connection: Connection, reason: str) -> None:
        """The connection ended, without a response to its request if it has one."""


class Connection(asyncio.BufferedProtocol):
    """Opened by `open_connection`."""

    def __init__(self, sock: socket.socket, tls: Tls | None, owner: Owner) -> None:
        self.closed = False
        #: loop time of the last response
        self.idle_since = 0.0
        self._sock = sock
        self._tls = tls
        self._owner = owner
        self._busy = False
        self._parser = ResponseParser()
        # Reading into a buffer of our own saves an allocation of 256 KiB in each call.
        self._buffer = memoryview(bytearray(_READ))
        self._transport: asyncio.Transport | None = None
        self._established: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def established(self) -> None:
        """Wait for the handshake.

        Raises:
            OSError: it failed; an `ssl.SSLError` if the server's certificate is not valid.
        """
        await self._established

    def is_free(self) -> bool:
        """Whether a request may be sent now: reads first what the event loop has not read yet, such as the server's end."""
        while not self.closed:
            try:
                size = self._sock.recv_into(self._buffer)
            except BlockingIOError:
                return True
            except OSError:
                size = 0
            if size:
                self.buffer_updated(size)  # tickets of TLS; anything else closes the connection
            else:
                self._lose("ConnectionClosed")
        return False

    def send(self, request: bytes) -> None:
        """Send a request; the owner learns its end."""
        assert self._transport is not None
        self._busy = True
        try:
            self._transport.write(request if self._tls is None else self._tls.encrypt(request))
        except ssl.SSLError as error:
            self._fail(error)

    def close(self) -> None:
        """Close it now. A request in progress is given up; the owner learns nothing of it."""
        if self.closed:
            return
        self.closed = True
        if self._transport is None:
            self._sock.close()
            return
        if self._tls is not None and not self._transport.get_write_buffer_size():
            self._transport.write(self._tls.end())
        self._transport.abort()

    # Called by the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        if self._tls is None:
            self._established.set_result(None)
        else:
            self._tls.handshake()
            self._transport.write(self._tls.outgoing())

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        data: bytes | memoryview = self._buffer[:nbytes]
        if self._tls is not None:
            try:
                data = self._decrypt(self._tls, self._buffer[:nbytes])
            except ssl.SSLError as error:
                self._fail(error)
                return
        if data and not self.closed:
            self._receive(data)
        if self._tls is not None and self._tls.ended and not self.closed:
            self._end()

    def eof_received(self) -> None:
        if self._tls is None:
            self._end()
        else:
            # The server announces its end in the TLS session; any other end may come from outside of it.
            self._fail(ConnectionResetError("the server closed the connection"))

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(exc or ConnectionResetError("the connection was closed"))

    def _decrypt(self, tls: Tls, data: memoryview) -> bytes:
        plain = tls.decrypt(data)
        if answer := tls.outgoing():
            assert self._transport is not None
            self._transport.write(answer)
        if tls.established and not self._established.done():
            self._established.set_result(None)
        return plain

    def _receive(self, data: bytes | memoryview) -> None:
        if not self._busy:
            self._lose("UnexpectedData")
            return
        try:
            response = self._parser.feed(data)
        except ValueError:
            self._lose("BadResponse")
            return
        if response is not None:
            self._respond(response)

    def _end(self) -> None:
        """The server sends nothing more."""
        response = self._parser.end() if self._busy else None
        if response is None:
            self._lose("ConnectionClosed")
        else:
            self._respond(response)

    def _respond(self, response: HttpResponse) -> None:
        assert self._transport is not None
        self._busy = False
        ended = self._tls is not None and self._tls.ended
        # The rest of a request that was answered early must not precede the next one.
        if ended or not self._parser.reusable or self._transport.get_write_buffer_size():
            self.close()
        self._owner.responded(self, response)

    def _fail(self, error: Exception) -> None:
        if not self._established.done():
            self._established.set_exception(error)
            self._established.exception()  # known: no task waits for it if the opening was cancelled
        self._lose(type(error).__name__)

    def _lose(self, reason: str) -> None:
        if not self.closed:
            self.close()
            self._owner.lost(self, reason)
