"""Checks the bearer token of a request (RFC 6750): one token for each right."""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from notify_streams.secret import Secret
    from notify_streams.settings import Settings

#: Read users' data, change it, or read locations as a point of presence. None of them includes another.
Right = Literal["read", "write", "edge"]
_SCHEME: Final = "bearer"


@dataclass(frozen=True, slots=True)
class Refusal:
    """The error response for a request without a valid token."""

    status: int
    message: str
    headers: Mapping[str, str] = field(default_factory=dict)


def check_token(authorization: str | None, right: Right, settings: Settings) -> Refusal | None:
    """None if the `Authorization` header contains the token of `right`. The comparison takes constant time."""
    setting = f"web_{right}_token"
    token: Secret | None = getattr(settings, setting)
    if not token:
        return Refusal(403, f"no token is configured for this view: set `{setting}` (NOTIFY_{setting.upper()})")
    scheme, _, given = (authorization or "").partition(" ")
    # aiohttp decodes bytes that are not UTF-8 to surrogates.
    same = hmac.compare_digest(given.strip().encode("utf-8", "surrogateescape"), token.reveal().encode())
    if scheme.lower() != _SCHEME or not same:
        return Refusal(
            401,
            f"send `Authorization: Bearer <token>` with the token of the setting `{setting}`",
            {"WWW-Authenticate": 'Bearer realm="notify-streams"'},
        )
    return None
