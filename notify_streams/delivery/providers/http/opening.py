"""Opens connections to one server."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Sequence
from typing import Final

import aiohappyeyeballs

from notify_streams.delivery.providers.http.connection import Connection, Owner
from notify_streams.delivery.providers.http.request_head import Server
from notify_streams.delivery.providers.http.tls import Tls

#: how long the addresses of a name are used
_ADDRESSES_S: Final = 10.0
#: after this time without a connection the next address is tried as well
_NEXT_ADDRESS_S: Final = 0.1


class Opener:
    """Connections that are opened within 10 s share one look-up of the server's name."""

    def __init__(self, server: Server, context: ssl.SSLContext) -> None:
        self._server = server
        self._context = context if server.tls else None
        self._lookup: asyncio.Task[Sequence[aiohappyeyeballs.AddrInfoType]] | None = None
        self._looked_up_at = 0.0

    async def open(self, owner: Owner) -> Connection:
        """A connection that may have a request.

        Raises:
            OSError, ValueError: there is none; an `ssl.SSLError` if the server's certificate is not valid.
        """
        try:
            addresses = await self._addresses()
            sock = await aiohappyeyeballs.start_connection(
                addresses, happy_eyeballs_delay=_NEXT_ADDRESS_S, interleave=1
            )
        except OSError:
            self._lookup = None
            raise
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = None
        try:
            tls = Tls(self._context, self._server.host) if self._context is not None else None
            connection = Connection(sock, tls, owner)
            await asyncio.get_running_loop().create_connection(lambda: connection, sock=sock)
            await connection.established()
            if not connection.is_free():
                raise ConnectionResetError("the server closed the connection at once")
        except BaseException:
            if connection is None:
                sock.close()
            else:
                connection.close()
            raise
        return connection

    def close(self) -> None:
        """Cancel a look-up in progress."""
        if self._lookup is not None:
            self._lookup.cancel()

    async def _addresses(self) -> Sequence[aiohappyeyeballs.AddrInfoType]:
        loop = asyncio.get_running_loop()
        if self._lookup is None or (self._lookup.done() and loop.time() - self._looked_up_at > _ADDRESSES_S):
            self._lookup = loop.create_task(self._look_up())
        # A call that is cancelled leaves the look-up to the next one.
        return await asyncio.shield(self._lookup)

    async def _look_up(self) -> Sequence[aiohappyeyeballs.AddrInfoType]:
        loop = asyncio.get_running_loop()
        try:
            return await loop.getaddrinfo(self._server.host, self._server.port, type=socket.SOCK_STREAM)
        finally:
            self._looked_up_at = loop.time()
