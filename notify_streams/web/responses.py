"""The superclass of all views: token check, timeout, errors as HTTP statuses."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast

import msgspec
from aiohttp.web import HTTPException, Response
from faust import web

from notify_streams.errors import RetryLater
from notify_streams.web.auth import check_token
from notify_streams.web.request_body import MAX_BODY_BYTES, BodyTooLong

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp.web import Request

    from notify_streams.app import NotifyApp

log = logging.getLogger(__name__)

RETRY_AFTER: Final = {"Retry-After": "1"}
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_STORE_TIMEOUT_S: Final = 3.0


def _plain(value: object) -> object:
    """BSON's `Int64` as a plain integer."""
    if isinstance(value, int):
        return int(value)
    raise TypeError(f"{type(value).__name__} cannot be encoded as JSON")


_encode: Final = msgspec.json.Encoder(enc_hook=_plain).encode


class WebView(web.View):
    """A view of this worker or its region. Responses are not cached."""

    #: True for views that show a user's data or change something.
    needs_token: ClassVar[bool] = False
    #: For the whole request.
    timeout_s: ClassVar[float] = 8.0

    @property
    def worker(self) -> NotifyApp:
        return cast("NotifyApp", self.app)

    @property
    def store_timeout_s(self) -> float:
        """The timeout for one store: shorter than the view's, so that the response names the store."""
        return store_timeout_s(self.worker)

    async def dispatch(self, request: Request) -> Any:
        if self.needs_token:
            refusal = check_token(request.headers.get("Authorization"), self.worker.settings.web_token)
            if refusal is not None:
                return json_response({"error": refusal.message}, refusal.status, refusal.headers)
        try:
            async with asyncio.timeout(self.timeout_s):
                return await super().dispatch(request)
        except (RetryLater, TimeoutError) as error:
            log.warning(
                "view unavailable", extra={"action": "view.unavailable", "view": self.view_name, "error": error}
            )
            return json_response({"error": f"try again: {error or 'the request timed out'}"}, 503, RETRY_AFTER)
        except BodyTooLong:
            return json_response(
                {"error": f"the body must have at most {MAX_BODY_BYTES} bytes"}, 413, {"Connection": "close"}
            )
        except HTTPException:
            raise
        except Exception:
            log.exception("view failed", extra={"action": "view.failed", "view": self.view_name})
            return json_response({"error": "internal error; see the worker's log"}, 500)


def store_timeout_s(worker: NotifyApp) -> float:
    """See `WebView.store_timeout_s`."""
    return min(_STORE_TIMEOUT_S, worker.settings.outbox.transaction_timeout_s)


def json_response(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """`value` as JSON; infinity and NaN become null."""
    return make_response(_encode(value), "application/json", status, headers)


def make_response(
    body: bytes, content_type: str, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    return Response(body=body, status=status, headers={**_HEADERS, "Content-Type": content_type, **(headers or {})})
