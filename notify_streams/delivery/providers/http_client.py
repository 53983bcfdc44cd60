"""One bounded pool of HTTP connections to one provider: a request in, an `HttpResponse` or a `NoResponse` out.

Refuses to know what the request says. Never repeats a request, follows a redirect or keeps a cookie.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

import aiohttp

from notify_streams.delivery.providers.config import ProviderConfig
from notify_streams.delivery.providers.http_responses import HttpResponse, NoResponse, retry_after_s


class HttpClient:
    """Bounded by `max_in_flight` connections; a call has one within `start_within_s` or is not made."""

    def __init__(self, config: ProviderConfig) -> None:
        self._limit = config.max_in_flight
        self._timeout = aiohttp.ClientTimeout(total=config.timeout_s, connect=config.start_within_s)
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Makes the pool; needs the running loop."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._limit, keepalive_timeout=60),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=self._timeout,
            trust_env=False,
        )

    async def close(self) -> None:
        """Closes every connection."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> HttpResponse | NoResponse:
        """One POST. Raises RuntimeError only if the pool was never started."""
        if self._session is None:
            raise RuntimeError("the provider's client is not started: call start() first")
        try:
            async with self._session.post(url, data=body, headers=headers, allow_redirects=False) as response:
                return HttpResponse(
                    response.status,
                    retry_after_s(response.headers.get("Retry-After"), time.time()),
                    await response.read(),
                )
        except (aiohttp.ConnectionTimeoutError, aiohttp.ClientConnectorError, ValueError) as not_begun:
            # No free connection, none to be had, or (ValueError) a URL or header that cannot be sent.
            return NoResponse(type(not_begun).__name__, begun=False)
        except (aiohttp.ClientError, OSError, RuntimeError) as trouble:  # a pool closed mid-call is a RuntimeError
            return NoResponse(type(trouble).__name__, begun=True)
