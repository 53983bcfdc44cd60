"""HTTP POST over kept connections, without retries, redirects and cookies."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from notify_streams import tasks
from notify_streams.delivery.providers.config import ProviderConfig
from notify_streams.delivery.providers.http.authorities import Authorities
from notify_streams.delivery.providers.http.connection_pool import ConnectionPool
from notify_streams.delivery.providers.http.name_lookups import NameLookups
from notify_streams.delivery.providers.http.request_head import Server, request_head, server_and_target
from notify_streams.delivery.providers.http_responses import HttpResponse, NoResponse

#: URLs whose pool and first lines are kept
_MAX_URLS: Final = 1024


class HttpClient:
    """At most `max_in_flight` connections to each server. A call that gets none within `start_within_s` is not made.

    With more than `max_servers` servers, or with more than twice `max_in_flight` connections to the others than the one to call,
    those to the server that was used least recently and has no call in progress are closed. If each has one, a call to a further
    server is not made. With `public_only`, neither is one to a server with a private address.
    """

    def __init__(
        self,
        config: ProviderConfig,
        *,
        max_servers: int = 8,
        public_only: bool = False,
        lookups: NameLookups | None = None,
    ) -> None:
        """`lookups`: of the servers' names; None: in the threads of the event loop."""
        self._config = config
        self._lookups = lookups
        self._max_servers = max_servers
        self._public_only = public_only
        self._authorities = Authorities(config.ca_file, config.credential_check_s)
        self._started = False
        #: the last one was used last
        self._pools: dict[Server, ConnectionPool] = {}
        self._closing: set[asyncio.Task[None]] = set()
        #: by URL: its server, the first lines of its requests
        self._urls: dict[str, tuple[Server, str]] = {}
        #: URL and headers of the last call, and their bytes: most calls have the same
        self._last: tuple[str, tuple[tuple[str, str], ...]] | None = None
        self._last_head = b""
        self._warming: asyncio.Task[None] | None = None

    async def start(self, url: str | None = None) -> None:
        """Read the certificates of the authorities, and follow their file; then open connections to the server of `url` in the background.

        Raises:
            OSError: `ca_file` cannot be read or has no certificate.
            ValueError: the URL is invalid.
        """
        await self._authorities.start()
        self._started = True
        if url is not None:
            server, _ = server_and_target(url)
            self._warming = asyncio.create_task(self._pool(server).warm_up(self._config.warm_connections))

    async def warm_up(self, url: str, count: int) -> None:
        """Open connections to the server of `url` until there are `count`; stops early if that is not possible.

        Raises:
            RuntimeError: the client was not started.
            ValueError: the URL is invalid.
        """
        server, _ = server_and_target(url)
        await self._pool(server).warm_up(count)

    async def close(self) -> None:
        """End the calls in progress with `NoResponse`, and close all connections."""
        await self._authorities.close()
        await tasks.stop([self._warming])
        pools, self._pools = self._pools, {}
        self._started = False
        self._urls.clear()
        self._last = None
        await asyncio.gather(*(pool.close() for pool in pools.values()), *self._closing)

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> HttpResponse | NoResponse:
        """Send one POST request. The response has at most 64 KiB of headers and 1 MiB of body.

        Raises:
            RuntimeError: the client was not started.
        """
        try:
            server, first_lines = self._urls.get(url) or self._remember(url)
            key = (url, tuple(headers.items()))
            if key != self._last:
                self._last_head = request_head(first_lines, headers)
                self._last = key
            pool = self._pool(server)
        except (ValueError, _TooManyServers) as error:
            return NoResponse(type(error).__name__.lstrip("_"), begun=False)
        return await pool.call(b"%b%d\r\n\r\n%b" % (self._last_head, len(body), body))

    def _remember(self, url: str) -> tuple[Server, str]:
        if len(self._urls) >= _MAX_URLS:
            self._urls.clear()
        self._urls[url] = server_and_target(url)
        return self._urls[url]

    def _pool(self, server: Server) -> ConnectionPool:
        if not self._started:
            raise RuntimeError("the HTTP client is not started: call start() first")
        if len(self._pools) == 1 and server in self._pools:
            return self._pools[server]
        pool = self._pools.pop(server, None)
        self._close_unused(self._max_servers - 1)
        if pool is None:
            if len(self._pools) >= self._max_servers:
                raise _TooManyServers
            pool = ConnectionPool(
                server, self._config, self._authorities, public_only=self._public_only, lookups=self._lookups
            )
        self._pools[server] = pool
        return pool

    def _close_unused(self, most: int) -> None:
        """Close what was used least recently until at most `most` pools, with not too many connections, are left."""
        connections = sum(pool.size for pool in self._pools.values())
        for server, pool in tuple(self._pools.items()):
            if len(self._pools) <= most and connections <= 2 * self._config.max_in_flight:
                break
            if not pool.is_busy:
                connections -= pool.size
                del self._pools[server]
                task = asyncio.create_task(pool.close())
                self._closing.add(task)
                task.add_done_callback(self._closing.discard)


class _TooManyServers(Exception):
    """Each server has calls in progress."""
