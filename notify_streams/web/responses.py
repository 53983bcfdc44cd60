"""How every view answers: JSON, the token where one is needed, an error as a status, and always in time.

In: what a view returns or raises. Out: a response that no cache keeps. It refuses to know what any view shows.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast

import msgspec
from aiohttp.web import HTTPException, Response
from faust import web

from notify_streams.errors import RetryLater
from notify_streams.web.auth import refusal
from notify_streams.web.request_body import LONGEST, TooLong

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp.web import Request

    from notify_streams.app import NotifyApp

log = logging.getLogger(__name__)

RETRY_AFTER: Final = {"Retry-After": "1"}
_ALWAYS: Final = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_STORE_S: Final = 3.0


def _plain(value: object) -> object:
    """BSON's 64-bit integers are a class of their own, which JSON has no need of."""
    if isinstance(value, int):
        return int(value)
    raise TypeError(f"{type(value).__name__} has no place in an answer")


_encode: Final = msgspec.json.Encoder(enc_hook=_plain).encode


class WebView(web.View):
    """A view of this worker or its region."""

    #: Shows a person's data or changes something.
    needs_token: ClassVar[bool] = False
    #: Stores have timeouts of their own; this one is for everything together.
    within_s: ClassVar[float] = 8.0

    @property
    def worker(self) -> NotifyApp:
        return cast("NotifyApp", self.app)

    @property
    def store_s(self) -> float:
        """What one store may take, so that a silent one is named before anybody gives up on the view."""
        return store_s(self.worker)

    async def dispatch(self, request: Request) -> Any:
        if self.needs_token:
            refused = refusal(request.headers.get("Authorization"), self.worker.settings.web_token)
            if refused is not None:
                return answer({"error": refused.sentence}, refused.status, refused.headers)
        try:
            async with asyncio.timeout(self.within_s):
                return await super().dispatch(request)
        except (RetryLater, TimeoutError) as error:
            log.warning("not answered", extra={"action": "view", "view": self.view_name, "error": str(error)})
            return answer({"error": f"try again: {error or 'it took too long'}"}, 503, RETRY_AFTER)
        except TooLong:
            return answer({"error": f"the body may have {LONGEST} bytes"}, 413, {"Connection": "close"})
        except HTTPException:
            raise
        except Exception:
            log.exception("a view failed", extra={"action": "view", "view": self.view_name})
            return answer({"error": "this view failed; the worker's log says why"}, 500)


def store_s(worker: NotifyApp) -> float:
    """See `WebView.store_s`."""
    return min(_STORE_S, worker.settings.outbox.transaction_timeout_s)


def answer(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """`value` as JSON; infinities and what is not a number become null."""
    return respond(_encode(value), "application/json", status, headers)


def respond(body: bytes, content_type: str, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(body=body, status=status, headers={**_ALWAYS, "Content-Type": content_type, **(headers or {})})
