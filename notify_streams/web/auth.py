"""Checks the bearer token of a request (RFC 6750)."""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from notify_streams.secret import Secret

_SCHEME: Final = "bearer"


@dataclass(frozen=True, slots=True)
class Refusal:
    """The error response for a request without a valid token."""

    status: int
    message: str
    headers: Mapping[str, str] = field(default_factory=dict)


def check_token(authorization: str | None, token: Secret | None) -> Refusal | None:
    """None if the `Authorization` header contains `token`. The comparison takes constant time."""
    if not token:
        return Refusal(403, "no token is configured for this view: set `web_token` (NOTIFY_WEB_TOKEN)")
    scheme, _, given = (authorization or "").partition(" ")
    # aiohttp decodes bytes that are not UTF-8 to surrogates.
    same = hmac.compare_digest(given.strip().encode("utf-8", "surrogateescape"), token.reveal().encode())
    if scheme.lower() != _SCHEME or not same:
        return Refusal(
            401,
            "send `Authorization: Bearer <token>` with the token of the setting `web_token`",
            {"WWW-Authenticate": 'Bearer realm="notify-streams"'},
        )
    return None
