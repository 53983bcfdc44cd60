"""Requests to other regions: relayed ones, and those of our own.

`HOP_HEADER` says that a request was relayed once: it is not relayed again, even if a proxy has changed the
path. It gives no right: the other region checks the request's own signature or token. The proof in `PROOF_HEADER` says that a region has
made a request.
"""

from __future__ import annotations

import hashlib
import logging
from typing import TYPE_CHECKING, Final

import aiohttp
from aiohttp.web import Response
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from yarl import URL

from notify_streams import metrics
from notify_streams.response_body import read_response
from notify_streams.web.responses import RETRY_AFTER, Content, json_response
from notify_streams.web.worker_objects import one_for

if TYPE_CHECKING:
    from aiohttp.web import Request

    from notify_streams.app import NotifyApp

log = logging.getLogger(__name__)

HOP_HEADER: Final = "X-Notify-Relayed"
PROOF_HEADER: Final = "X-Notify-Proof"
_PROOF_S: Final = 60
_TIMEOUT_S: Final = 3.0
_MAX_RESPONSE_BYTES: Final = 256 * 1024
#: What the other region needs of the request's headers.
_HEADERS: Final = ("Content-Type", "Accept", "Accept-Language")
#: Of the other region's response, beside its content type.
_OF_RESPONSE: Final = ("Location",)


class Relay:
    """The client of the other regions' public URLs."""

    def __init__(self, worker: NotifyApp) -> None:
        public = worker.settings.public
        self._urls = public.urls
        keys = public.link_key_list()
        self._proofs = MultiFernet([Fernet(key) for key in keys]) if keys else None
        self._session: aiohttp.ClientSession | None = None
        worker.add_stop(self.close)

    async def relay(self, region: str, request: Request, body: bytes) -> Response:
        """What `region` answers to this request; 503 with `Retry-After` if it does not, or if the request has made its one hop."""
        url = self._urls.get(region)
        if url is None:
            return _refused(region, f"set public.urls.{region}")
        if HOP_HEADER in request.headers:
            return _refused(region, "the regions disagree about who serves this person")
        headers = {name: request.headers[name] for name in _HEADERS if name in request.headers}
        headers[HOP_HEADER] = "1"
        try:
            async with self._opened().request(
                request.method,
                URL(url.rstrip("/") + request.rel_url.raw_path_qs, encoded=True),
                data=body,
                headers=headers,
                allow_redirects=False,
            ) as response:
                content = await read_response(response, _MAX_RESPONSE_BYTES)
                kind = response.headers.get("Content-Type", "application/octet-stream")
                metrics.RELAYED_REQUESTS.labels(region, "answered").inc()
                handed_on = {name: response.headers[name] for name in _OF_RESPONSE if name in response.headers}
                return Content(content, kind, response.status, handed_on).response()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return _refused(region, type(error).__name__)

    async def tell(self, region: str, path: str, body: bytes) -> bool:
        """POST a request of our own to the same role of `region`; whether it answered 200. The proof says that a region sent it."""
        url = self._urls.get(region)
        if self._proofs is None or url is None:
            return False
        headers = {PROOF_HEADER: self._proofs.encrypt(_digest("POST", path, body)).decode()}
        try:
            async with self._opened().post(
                URL(url.rstrip("/") + path, encoded=True), data=body, headers=headers, allow_redirects=False
            ) as response:
                is_done = response.status == 200
        except (aiohttp.ClientError, TimeoutError, OSError):
            is_done = False
        metrics.RELAYED_REQUESTS.labels(region, "answered" if is_done else "refused").inc()
        return is_done

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S))
        return self._session

    def is_proved(self, request: Request, body: bytes) -> bool:
        """Whether another region has made this request within the last minute."""
        proof = request.headers.get(PROOF_HEADER)
        if proof is None or self._proofs is None or len(proof) > 1024:
            return False
        try:
            return self._proofs.decrypt(proof, ttl=_PROOF_S) == _digest(
                request.method, request.rel_url.raw_path_qs, body
            )
        except (InvalidToken, ValueError):  # the second one for text that is not ASCII
            return False

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()


async def relay(worker: NotifyApp, region: str, request: Request, body: bytes) -> Response:
    """See `Relay.relay`."""
    return await one_for(worker, Relay).relay(region, request, body)


def _digest(method: str, path_qs: str, body: bytes) -> bytes:
    return hashlib.sha256(f"{method} {path_qs}\n".encode() + body).digest()


def _refused(region: str, why: str) -> Response:
    metrics.RELAYED_REQUESTS.labels(region, "refused").inc()
    log.warning("request not relayed", extra={"action": "relay.refused", "region": region, "error": why})
    return json_response({"error": f"try again: region {region} must answer this and does not"}, 503, RETRY_AFTER)
