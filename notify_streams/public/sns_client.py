"""Requests to SNS: signing certificates, the confirmation of subscriptions."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, TypeVar

import aiohttp
from yarl import URL

from notify_streams.delivery.providers.http.authorities import Authorities
from notify_streams.errors import RetryLater
from notify_streams.public.sns_signature import signing_key
from notify_streams.response_body import read_response

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

Value = TypeVar("Value")

_TIMEOUT_S: Final = 3.0
_MAX_BYTES: Final = 64 * 1024
#: Certificates that are remembered, and as many URLs without one. A region of AWS has one or two.
_MAX_KNOWN: Final = 64
#: Certificates that are fetched at the same time. Who knows a topic's name may send any number of URLs.
_MAX_FETCHES: Final = 16
#: A URL without a certificate is asked again after this time; a certificate is fetched again after a day.
_REFUSED_S: Final = 60.0
_FRESH_S: Final = 24 * 3600.0


class SnsClient:
    """Fetches each certificate once.

    Connections are checked against the authorities of `ca_file`; None: those of the system.
    """

    def __init__(self, ca_file: str | None) -> None:
        self._authorities = Authorities(ca_file)
        self._session: aiohttp.ClientSession | None = None
        #: URL → key, and until when it stands (monotonic). URLs without one are apart, so that they push no key out.
        self._keys: dict[str, tuple[RSAPublicKey, float]] = {}
        self._refused: dict[str, float] = {}
        self._fetching: dict[str, asyncio.Task[RSAPublicKey | None]] = {}

    async def key(self, url: str) -> RSAPublicKey | None:
        """The key of the certificate at a URL that was checked; None if there is no valid certificate.

        Raises:
            RetryLater: SNS does not answer, or too many certificates are being fetched.
        """
        now = asyncio.get_running_loop().time()
        known = self._keys.get(url)
        if known is not None and now < known[1]:
            return known[0]
        if now < self._refused.get(url, now):
            return None
        task = self._fetching.get(url)
        if task is None:
            if len(self._fetching) >= _MAX_FETCHES:
                raise RetryLater("too many certificates of SNS are being fetched")
            task = self._fetching[url] = asyncio.create_task(self._fetch_key(url))
            task.add_done_callback(lambda _: self._fetching.pop(url, None))
        return await asyncio.shield(task)

    async def get(self, url: str) -> bytes | None:
        """The body at `url`; None with another status than 200.

        Raises:
            RetryLater: no answer, or a status of 500 and above.
        """
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S), connector=aiohttp.TCPConnector(limit=4)
            )
        try:
            await self._authorities.start()
            context = self._authorities.context
            async with self._session.get(URL(url, encoded=True), allow_redirects=False, ssl=context) as response:
                if response.status >= 500:
                    raise RetryLater(f"SNS answers {response.status}")
                if response.status != 200:
                    return None
                return await read_response(response, _MAX_BYTES)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise RetryLater(f"SNS does not answer: {type(error).__name__}") from error

    async def close(self) -> None:
        await self._authorities.close()
        if self._session is not None:
            await self._session.close()

    async def _fetch_key(self, url: str) -> RSAPublicKey | None:
        pem = await self.get(url)
        key = None if pem is None else signing_key(pem, datetime.now(UTC))
        now = asyncio.get_running_loop().time()
        if key is None:
            _keep(self._refused, url, now + _REFUSED_S)
        else:
            _keep(self._keys, url, (key, now + _FRESH_S))
        return key


def _keep(known: dict[str, Value], url: str, value: Value) -> None:
    """Remember one more; the oldest is forgotten."""
    known.pop(url, None)
    while len(known) >= _MAX_KNOWN:
        del known[next(iter(known))]
    known[url] = value
