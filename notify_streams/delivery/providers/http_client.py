"""HTTP POST over kept connections, without retries, redirects and cookies."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping

from notify_streams import tasks
from notify_streams.delivery.providers.config import ProviderConfig
from notify_streams.delivery.providers.http.connection_pool import ConnectionPool
from notify_streams.delivery.providers.http.request_head import Server, request_head, server_and_target
from notify_streams.delivery.providers.http.tls import tls_context
from notify_streams.delivery.providers.http_responses import HttpResponse, NoResponse


class HttpClient:
    """At most `max_in_flight` connections to each server. A call that gets none within `start_within_s` is not made."""

    def __init__(self, config: ProviderConfig) -> None:
        self._config = config
        self._context: ssl.SSLContext | None = None
        self._pools: dict[Server, ConnectionPool] = {}
        #: by URL: its pool, the first lines of its requests
        self._urls: dict[str, tuple[ConnectionPool, str]] = {}
        #: URL and headers of the last call, and their bytes: most calls have the same
        self._last: tuple[str, tuple[tuple[str, str], ...]] | None = None
        self._last_head = b""
        self._warming: asyncio.Task[None] | None = None

    async def start(self, url: str | None = None) -> None:
        """Read the certificates of the authorities; then open connections to the server of `url` in the background.

        Raises:
            OSError: `ca_file` cannot be read or has no certificate.
            ValueError: the URL is invalid.
        """
        self._context = tls_context(self._config.ca_file)
        if url is not None:
            pool, _ = self._pool(url)
            self._warming = asyncio.create_task(pool.warm_up(self._config.warm_connections))

    async def warm_up(self, url: str, count: int) -> None:
        """Open connections to the server of `url` until there are `count`; stops early if that is not possible.

        Raises:
            RuntimeError: the client was not started.
            ValueError: the URL is invalid.
        """
        pool, _ = self._pool(url)
        await pool.warm_up(count)

    async def close(self) -> None:
        """End the calls in progress with `NoResponse`, and close all connections."""
        await tasks.stop([self._warming])
        pools, self._pools = self._pools, {}
        self._context = None
        self._urls.clear()
        self._last = None
        await asyncio.gather(*(pool.close() for pool in pools.values()))

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> HttpResponse | NoResponse:
        """Send one POST request. The response has at most 64 KiB of headers and 1 MiB of body.

        Raises:
            RuntimeError: the client was not started.
        """
        try:
            pool, first_lines = self._urls.get(url) or self._pool(url)
            key = (url, tuple(headers.items()))
            if key != self._last:
                self._last_head = request_head(first_lines, headers)
                self._last = key
        except ValueError as error:
            return NoResponse(type(error).__name__, begun=False)
        return await pool.call(b"%b%d\r\n\r\n%b" % (self._last_head, len(body), body))

    def _pool(self, url: str) -> tuple[ConnectionPool, str]:
        if self._context is None:
            raise RuntimeError("the HTTP client is not started: call start() first")
        server, first_lines = server_and_target(url)
        if server not in self._pools:
            self._pools[server] = ConnectionPool(server, self._config, self._context)
        self._urls[url] = self._pools[server], first_lines
        return self._urls[url]
