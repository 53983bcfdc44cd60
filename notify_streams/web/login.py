"""`/login` and `/logout`: a browser's session in place of a token.

The token is sent once, by a form; the cookie holds a `sessions.new_session`. Scripts cannot read it, and other sites cannot send it.
"""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from hashlib import blake2b
from math import ceil
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs, quote, urlsplit

from notify_streams.web import audit_log
from notify_streams.web.auth import is_same_origin, is_token
from notify_streams.web.request_body import read_body
from notify_streams.web.responses import WebView
from notify_streams.web.sessions import SESSION_RIGHTS, SESSION_S, cookie_name, has_session, new_session, token_of
from notify_streams.web.worker_objects import one_for

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp.web import Request, Response

    from notify_streams.app import NotifyApp
    from notify_streams.settings import Settings
    from notify_streams.web.sessions import SessionRight

_WINDOW_S: Final = 60.0
_MAX_FAILURES: Final = 10
#: Groups of tokens with a limit of their own: all those behind one proxy have its address.
_GROUPS: Final = 256
_MAX_KEPT: Final = 20_000
_MAX_FIELDS: Final = 8
_MAX_PATH_CHARS: Final = 2_000


class LoginLimit:
    """At most 10 wrong tokens a minute from one address in each of 256 groups of tokens. Keeps the last 20,000 of both.

    A keyed hash gives a token its group. That of the right one is not known, so a few wrong ones do not keep it out.
    """

    def __init__(self) -> None:
        #: Address and group → beginning of its minute, wrong tokens since.
        self._failures: OrderedDict[tuple[str, int], tuple[float, int]] = OrderedDict()
        self._key = secrets.token_bytes(16)

    def wait_s(self, address: str, token: str, now_s: float) -> float:
        """Seconds until the address may try this token; 0: now."""
        since_s, count = self._failures.get((address, self.group_of(token)), (now_s, 0))
        return max(0.0, since_s + _WINDOW_S - now_s) if count >= _MAX_FAILURES else 0.0

    def failed(self, address: str, token: str, now_s: float) -> None:
        """The address has sent this token, which is wrong."""
        key = address, self.group_of(token)
        since_s, count = self._failures.pop(key, (now_s, 0))
        self._failures[key] = (now_s, 1) if now_s >= since_s + _WINDOW_S else (since_s, count + 1)
        if len(self._failures) > _MAX_KEPT:
            self._failures.popitem(last=False)

    def group_of(self, token: str) -> int:
        """From 0 to 255."""
        return blake2b(token.encode(errors="replace"), digest_size=1, key=self._key).digest()[0] % _GROUPS


def login_limit(_: NotifyApp) -> LoginLimit:
    """For `one_for`: one of a worker."""
    return LoginLimit()


class Login(WebView):
    """A form that takes the read token or the write token, then shows the page in ``?next=``.

    Who may read already is sent there at once, unless ``?right=write`` asks for the other right.
    """

    async def get(self, request: Request) -> Response:
        target = local_path(request.query.get("next"))
        if request.headers.get("Sec-Fetch-Site") == "cross-site":
            # A link of another site brings no cookie that is `SameSite=Strict`. The next request comes from our page, and has it.
            return self.page(request, "continue.html", target=f"/login?next={quote(target)}")
        wanted: SessionRight = "write" if request.query.get("right") == "write" else "read"
        if target != "/" and has_session(request.cookies, self.worker.settings, wanted, time.time()):
            return self.redirect(request, target)
        return self._form(request, target)

    async def post(self, request: Request) -> Response:
        if not is_same_origin(request.headers):
            audit_log.refused(request, self.view_name, 403)
            return self.error_response(request, "log in with the form of this address", 403)
        target, given = local_path(request.query.get("next")), sent_token(await read_body(request))
        limit, address, now_s = one_for(self.worker, login_limit), request.remote or "", time.monotonic()
        if wait_s := limit.wait_s(address, given, now_s):
            audit_log.refused(request, self.view_name, 429)
            problem = f"Too many wrong tokens. Try again in {ceil(wait_s)} s."
            return self._form(request, target, problem, 429, {"Retry-After": str(ceil(wait_s))})
        right = right_of(given, self.worker.settings)
        if right is None:
            limit.failed(address, given, now_s)
            audit_log.refused(request, self.view_name, 401)
            headers = {"WWW-Authenticate": 'Bearer realm="notify-streams"'}
            return self._form(request, target, "This is not the token.", 401, headers)
        audit_log.logged_in(request, self.view_name, right)
        return self._with_session(request, target, right)

    def _with_session(self, request: Request, target: str, right: SessionRight) -> Response:
        settings = self.worker.settings
        response = self.redirect(request, target)
        response.set_cookie(
            cookie_name(settings, right),
            new_session(settings, right, time.time()),
            max_age=SESSION_S,
            path="/",
            httponly=True,
            samesite="Strict",
            secure=is_https(request),
        )
        return response

    def _form(
        self,
        request: Request,
        target: str,
        problem: str | None = None,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        rights = [right for right in SESSION_RIGHTS if token_of(self.worker.settings, right) is not None]
        return self.page(request, "login.html", status, headers, target=target, problem=problem, rights=rights)


class Logout(WebView):
    """Removes the cookies of this browser. A new token in the settings ends all sessions."""

    async def post(self, request: Request) -> Response:
        if not is_same_origin(request.headers):
            return self.error_response(request, "log out with the button of this address", 403)
        response = self.redirect(request, "/")
        for right in SESSION_RIGHTS:
            response.del_cookie(
                cookie_name(self.worker.settings, right),
                path="/",
                httponly=True,
                samesite="Strict",
                secure=is_https(request),
            )
        return response


def sent_token(body: bytes) -> str:
    """The field `token` of the form; "" without one."""
    try:
        fields = parse_qs(body.decode(), max_num_fields=_MAX_FIELDS)
    except ValueError:
        return ""
    return fields.get("token", [""])[0].strip()


def right_of(given: str, settings: Settings) -> SessionRight | None:
    """Which token it is. Takes the same time for each."""
    tokens = {right: token_of(settings, right) for right in SESSION_RIGHTS}
    same = [right for right, token in tokens.items() if token is not None and is_token(given, token)]
    return same[0] if same else None


def local_path(text: str | None) -> str:
    """A path of this server, with its query; "/" for anything that could lead elsewhere."""
    if (
        not text
        or len(text) > _MAX_PATH_CHARS
        or not text.startswith("/")
        or text.startswith(("//", "/login", "/logout"))
    ):
        return "/"
    # Browsers read a backslash as a slash, and leave out tabs and line ends.
    if "\\" in text or not text.isprintable() or " " in text:
        return "/"
    try:
        parts = urlsplit(text)
    except ValueError:
        return "/"
    return "/" if parts.scheme or parts.netloc else text


def is_https(request: Request) -> bool:
    """Whether the browser speaks HTTPS, to this server or to a proxy before it. A wrong header harms only its sender."""
    return request.secure or request.headers.get("X-Forwarded-Proto", "").split(",")[0].strip() == "https"
