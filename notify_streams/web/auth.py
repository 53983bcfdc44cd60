"""Checks who sends a request: by a bearer token (RFC 6750) or a session.

There is one token for each right.
"""

from __future__ import annotations

import hmac
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import urlsplit

from notify_streams.web.sessions import has_session

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp.web import Request

    from notify_streams.secret import Secret
    from notify_streams.settings import Settings

#: Read users' data, change it, or read locations as a point of presence. None of them includes another.
Right = Literal["read", "write", "edge"]
_SCHEME: Final = "bearer"
_SAFE_METHODS: Final = ("GET", "HEAD", "OPTIONS")


@dataclass(frozen=True, slots=True)
class Refusal:
    """The error response for a request without a valid token."""

    status: int
    message: str
    headers: Mapping[str, str] = field(default_factory=dict)


def check_request(request: Request, right: Right, settings: Settings) -> Refusal | None:
    """None if the request has the token of `right`, or no token and a session for it.

    Browsers send a session by themselves, so what is not only read must come from a page of the same origin.
    """
    authorization = request.headers.get("Authorization")
    if authorization is None and right != "edge" and has_session(request.cookies, settings, right, time.time()):
        if request.method in _SAFE_METHODS or is_same_origin(request.headers):
            return None
        return Refusal(403, "a change with a session must be sent by a page of this address")
    return check_token(authorization, right, settings)


def check_token(authorization: str | None, right: Right, settings: Settings) -> Refusal | None:
    """None if the `Authorization` header contains the token of `right`. The comparison takes constant time."""
    setting = f"web_{right}_token"
    token: Secret | None = getattr(settings, setting)
    if not token:
        return Refusal(403, f"no token is configured for this view: set `{setting}` (NOTIFY_{setting.upper()})")
    scheme, _, given = (authorization or "").partition(" ")
    if scheme.lower() != _SCHEME or not is_token(given.strip(), token):
        return Refusal(
            401,
            f"send `Authorization: Bearer <token>` with the token of the setting `{setting}`",
            {"WWW-Authenticate": 'Bearer realm="notify-streams"'},
        )
    return None


def is_token(given: str, token: Secret) -> bool:
    """In constant time."""
    # aiohttp decodes bytes that are not UTF-8 to surrogates.
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), token.reveal().encode())


def is_same_origin(headers: Mapping[str, str]) -> bool:
    """Whether a browser's request comes from a page of the same origin. What says nothing about that does not.

    ``Sec-Fetch-Site`` counts (https://www.w3.org/TR/fetch-metadata/). Browsers leave it out on plain HTTP; then `Origin` must name the host.
    """
    site = headers.get("Sec-Fetch-Site")
    if site is not None:
        return site == "same-origin"
    host = headers.get("Host", "")
    try:
        origin = urlsplit(headers.get("Origin", "")).netloc
    except ValueError:  # such as a bracket without its end
        return False
    return bool(host) and origin.lower() == host.lower()
