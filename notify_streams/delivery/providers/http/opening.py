"""Opens connections to one server."""

from __future__ import annotations

import asyncio

from notify_streams.delivery.providers.http.authorities import Authorities
from notify_streams.delivery.providers.http.connection import Connection, Owner
from notify_streams.delivery.providers.http.dialing import Dialer
from notify_streams.delivery.providers.http.name_lookups import NameLookups
from notify_streams.delivery.providers.http.request_head import Server
from notify_streams.delivery.providers.http.tls import Tls


class Opener:
    """Connects, and makes the TLS handshake."""

    def __init__(
        self, server: Server, authorities: Authorities, *, public_only: bool, lookups: NameLookups | None
    ) -> None:
        self._server = server
        self._authorities = authorities if server.tls else None
        self._dialer = Dialer(server, public_only=public_only, lookups=lookups)

    async def open(self, owner: Owner) -> Connection:
        """A connection that may have a request.

        Raises:
            OSError, ValueError: there is none; an `ssl.SSLError` if the server's certificate is not valid.
        """
        sock = await self._dialer.connect()
        connection = None
        try:
            tls = None if self._authorities is None else Tls(self._authorities.context, self._server.host)
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
        self._dialer.close()
