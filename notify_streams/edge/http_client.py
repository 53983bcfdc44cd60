"""Sends HTTP requests to a point of presence, bounded in time and concurrency."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import aiohttp
from yarl import URL

from notify_streams.errors import RetryLater
from notify_streams.response_body import read_response

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Statuses for a faulty request, which would be refused again: a key or value that the store does not take.
_REFUSED: Final = frozenset((400, 413, 414, 422))
_MAX_CONCURRENT: Final = 16
#: More than a response that names each of 10,000 keys.
_MAX_BODY_BYTES: Final = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A response after which the request need not be repeated. What follows 8 MiB of its body is left out."""

    status: int
    body: bytes

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    @property
    def refused(self) -> bool:
        """Whether the same request will always be refused."""
        return self.status in _REFUSED


class HttpClient:
    """Requests to one point of presence, at most `max_concurrent` at once."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: str,
        headers: Mapping[str, str],
        timeout_s: float = 5.0,
        max_concurrent: int = _MAX_CONCURRENT,
    ) -> None:
        self._session = session
        self._url = url.rstrip("/")
        self._headers = dict(headers)
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._slots = asyncio.Semaphore(max_concurrent)

    async def request(self, method: str, path: str, body: bytes | None = None) -> HttpResponse:
        """Send one request with an optional JSON body. `path` is appended to the URL as it is: already quoted.

        Raises:
            RetryLater: no response in time, a server error, too many requests, or a refused token, which the operator will renew.
        """
        headers = self._headers | ({"Content-Type": "application/json"} if body is not None else {})
        try:
            async with (
                self._slots,
                self._session.request(
                    method,
                    URL(self._url + path, encoded=True),
                    data=body,
                    headers=headers,
                    timeout=self._timeout,
                    allow_redirects=False,
                ) as received,
            ):
                response = HttpResponse(received.status, await read_response(received, _MAX_BODY_BYTES))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise RetryLater(f"no response to {method}: {type(error).__name__}") from error
        if response.ok or response.refused or (method == "DELETE" and response.status == 404):
            return response
        raise RetryLater(f"status {response.status} in response to {method}")
