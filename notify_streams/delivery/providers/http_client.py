"""HTTP POST with a bounded connection pool, without retries and redirects."""

from __future__ import annotations

import time
from collections.abc import Mapping

import aiohttp

from notify_streams.delivery.providers.config import ProviderConfig
from notify_streams.delivery.providers.http_responses import HttpResponse, NoResponse, retry_after_s


class HttpClient:
    """At most `max_in_flight` connections. A call that gets none within `start_within_s` is not made."""

    def __init__(self, config: ProviderConfig) -> None:
        self._limit = config.max_in_flight
        self._timeout = aiohttp.ClientTimeout(total=config.timeout_s, connect=config.start_within_s)
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Create the pool; needs a running event loop."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._limit, keepalive_timeout=60),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=self._timeout,
            trust_env=False,
        )

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> HttpResponse | NoResponse:
        """Send one POST request.

        Raises:
            RuntimeError: the client was not started.
        """
        if self._session is None:
            raise RuntimeError("the HTTP client is not started: call start() first")
        try:
            async with self._session.post(url, data=body, headers=headers, allow_redirects=False) as response:
                return HttpResponse(
                    response.status,
                    retry_after_s(response.headers.get("Retry-After"), time.time()),
                    await response.read(),
                )
        except (aiohttp.ConnectionTimeoutError, aiohttp.ClientConnectorError, ValueError) as error:
            # No free connection, no connection possible, or (ValueError) an invalid URL or header.
            return NoResponse(type(error).__name__, begun=False)
        except (aiohttp.ClientError, OSError, RuntimeError) as error:  # RuntimeError: closed during the call
            return NoResponse(type(error).__name__, begun=True)
