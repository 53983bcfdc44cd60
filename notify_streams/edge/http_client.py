"""HTTP calls to a point of presence, bounded in time and number. In: requests; out: status and body, or `RetryLater`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import aiohttp
from yarl import URL

from notify_streams.errors import RetryLater

if TYPE_CHECKING:
    from collections.abc import Mapping

#: The request itself is at fault, and would be again: a key or a value that the store does not take.
_REFUSED: Final = frozenset((400, 413, 414, 422))
_AT_ONCE: Final = 16


class HttpClient:
    """Calls to one point of presence, at most `at_once` under way."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: str,
        headers: Mapping[str, str],
        timeout_s: float = 5.0,
        at_once: int = _AT_ONCE,
    ) -> None:
        self._session = session
        self._url = url.rstrip("/")
        self._headers = dict(headers)
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._at_once = asyncio.Semaphore(at_once)

    async def call(
        self, method: str, path: str, body: bytes | None = None, content_type: str = "application/json"
    ) -> HttpResponse:
        """One request. `path` is appended to the URL as it is: quoted already.

        Raises:
            RetryLater: no answer in time, a server's error, too many requests, or a refused token, which somebody will renew.
        """
        headers = self._headers | ({"Content-Type": content_type} if body is not None else {})
        try:
            async with (
                self._at_once,
                self._session.request(
                    method,
                    URL(self._url + path, encoded=True),
                    data=body,
                    headers=headers,
                    timeout=self._timeout,
                    allow_redirects=False,
                ) as response,
            ):
                answer = HttpResponse(response.status, await response.read())
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise RetryLater(f"{method} was not answered: {type(error).__name__}") from error
        if answer.ok or answer.refused or (method == "DELETE" and answer.status == 404):
            return answer
        raise RetryLater(f"{method} was answered with {answer.status}")


class HttpResponse:
    """An answer that settles a request, one way or the other."""

    __slots__ = ("body", "status")

    def __init__(self, status: int, body: bytes) -> None:
        self.status = status
        self.body = body

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    @property
    def refused(self) -> bool:
        """Whether the same request will be answered like this for ever."""
        return self.status in _REFUSED
