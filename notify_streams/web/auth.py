"""Who may see a person's data or change something: whoever sends the bearer token of the settings. A header in, a refusal or nothing out."""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_SCHEME: Final = "bearer"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why not, and as which HTTP status."""

    status: int
    sentence: str
    headers: Mapping[str, str] = field(default_factory=dict)


def refusal(authorization: str | None, token: str | None) -> Refusal | None:
    """None if `authorization` (RFC 6750, section 2.1) carries `token`. How long a comparison takes tells nothing about the token."""
    if not token:
        return Refusal(403, "this needs a bearer token, and none is configured: set `web_token` (NOTIFY_WEB_TOKEN)")
    scheme, _, given = (authorization or "").partition(" ")
    # aiohttp hands over bytes that are no UTF-8 as surrogates.
    same = hmac.compare_digest(given.strip().encode("utf-8", "surrogateescape"), token.encode())
    if scheme.lower() != _SCHEME or not same:
        return Refusal(
            401,
            "send `Authorization: Bearer <token>` with the token that the settings name `web_token`",
            {"WWW-Authenticate": 'Bearer realm="notify-streams"'},
        )
    return None
