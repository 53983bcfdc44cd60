"""The superclasses of all views: token check, timeout, errors as HTTP statuses."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast
from urllib.parse import quote

import msgspec
from aiohttp.web import HTTPException, Response
from faust import web

from notify_streams.errors import RetryLater
from notify_streams.roles import VIEWS
from notify_streams.web import audit_log
from notify_streams.web.auth import check_request
from notify_streams.web.pages.rendering import CONTENT_TYPE, Frame, page_headers, render, wants_page
from notify_streams.web.region_reads import store_timeout_s
from notify_streams.web.request_body import BodyTooLong, ClientGone
from notify_streams.web.sessions import SESSION_RIGHTS, has_session
from notify_streams.web.shared_result import FOR_S, SharedResult

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp.web import Request

    from notify_streams.app import NotifyApp
    from notify_streams.web.auth import Right

log = logging.getLogger(__name__)

RETRY_AFTER: Final = {"Retry-After": "1"}
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def _plain(value: object) -> object:
    """BSON's `Int64` as a plain integer."""
    if isinstance(value, int):
        return int(value)
    raise TypeError(f"{type(value).__name__} cannot be encoded as JSON")


_encode: Final = msgspec.json.Encoder(enc_hook=_plain).encode


@dataclass(frozen=True, slots=True)
class Content:
    """What a view shows, encoded."""

    body: bytes
    content_type: str = "application/json"
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)

    def response(self) -> Response:
        headers = {**_HEADERS, "Content-Type": self.content_type, **self.headers}
        return Response(body=self.body, status=self.status, headers=headers)


class WebView(web.View):
    """A view of this worker or its region. Clients do not cache its responses."""

    #: What a client must be allowed to do; None for views that show no user's data and change nothing.
    right: ClassVar[Right | None] = None
    #: For the whole request; None: without an end.
    timeout_s: ClassVar[float | None] = 8.0

    @property
    def worker(self) -> NotifyApp:
        return cast("NotifyApp", self.app)

    @property
    def store_timeout_s(self) -> float:
        """See `region_reads.store_timeout_s`."""
        return store_timeout_s(self.worker)

    async def dispatch(self, request: Request) -> Any:
        if self.right is not None:
            refusal = check_request(request, self.right, self.worker.settings)
            if refusal is not None:
                if self._needs_login(request, refusal.status):
                    location = f"/login?next={quote(request.path_qs, safe='/')}"
                    return self.redirect(request, location)
                audit_log.refused(request, self.view_name, refusal.status)
                return self.error_response(request, refusal.message, refusal.status, refusal.headers)
        response = await self._respond(request)
        if self.right == "write":
            audit_log.written(request, self.view_name, request.match_info["user_id"], response.status)
        return response

    def _needs_login(self, request: Request, status: int) -> bool:
        return status == 401 and self.right == "read" and request.method == "GET" and self._shows_pages_to(request)

    def _shows_pages_to(self, request: Request) -> bool:
        """The role `webhooks`, which the internet reaches, has no pages for operators."""
        return self.worker.role == VIEWS and wants_page(request.headers)

    async def _respond(self, request: Request) -> Any:
        try:
            async with asyncio.timeout(self.timeout_s):
                return await super().dispatch(request)
        except (RetryLater, TimeoutError) as error:
            log.warning(
                "view unavailable", extra={"action": "view.unavailable", "view": self.view_name, "error": error}
            )
            reason = str(error) or "the request timed out"
            return self.error_response(request, f"try again: {reason}", 503, RETRY_AFTER)
        except BodyTooLong as error:
            return self.error_response(request, str(error), 413, {"Connection": "close"})
        except ClientGone:
            return Response()  # is not sent
        except HTTPException:
            raise
        except Exception:
            log.exception("view failed", extra={"action": "view.failed", "view": self.view_name})
            return self.error_response(request, "internal error; see the worker's log", 500)

    def page(
        self,
        request: Request,
        template: str,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        *,
        styled_attributes: bool = False,
        **values: Any,
    ) -> Response:
        """A page with `values`; see `rendering.render`. `styled_attributes`: see `page_headers`."""
        settings = self.worker.settings
        rights = [right for right in SESSION_RIGHTS if has_session(request.cookies, settings, right, time.time())]
        frame = Frame(settings.region, request.rel_url.raw_path, tuple(rights))
        body = render(template, frame, **values).encode()
        all_headers = {**page_headers(frame, styled_attributes), **(headers or {})}
        return Content(body, CONTENT_TYPE, status, all_headers).response()

    def redirect(self, request: Request, path: str) -> Response:
        """See other (303): the browser gets `path` of this server next."""
        return self.page(request, "continue.html", 303, {"Location": path}, target=path)

    def error_response(
        self, request: Request, text: str, status: int, headers: Mapping[str, str] | None = None
    ) -> Response:
        """A page for an operator's browser; else ``{"error": text}``."""
        if self._shows_pages_to(request):
            return self.page(request, "error.html", status, headers, heading=HTTPStatus(status).phrase, text=text)
        return json_response({"error": text}, status, headers)


class SharedView(WebView):
    """A view without arguments. Its content is made at most once in `shared_s`, for all clients together."""

    shared_s: ClassVar[float] = FOR_S

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._shared = SharedResult(self.content, self.shared_s)

    async def content(self) -> Content:
        raise NotImplementedError

    async def get(self, request: Request) -> Response:
        return (await self._shared.get()).response()


def json_content(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Content:
    """`value` as JSON; infinity and NaN become null."""
    return Content(_encode(value), status=status, headers=headers or {})


def json_response(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A response with `json_content`."""
    return json_content(value, status, headers).response()
