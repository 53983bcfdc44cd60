"""Sessions of browsers: what a cookie holds in place of a token.

The value is signed with the token, so that a new token ends all sessions of the old one, on every worker and without a store.
"""

from __future__ import annotations

import hmac
import secrets
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from notify_streams.secret import Secret
    from notify_streams.settings import Settings

#: What a session allows: one right, as a token does.
SessionRight = Literal["read", "write"]
SESSION_RIGHTS: Final[tuple[SessionRight, ...]] = ("read", "write")
SESSION_S: Final = 8 * 3600
#: expiry, 22 characters, 64 hexadecimal digits
_MAX_CHARS: Final = 128
_MAX_EXPIRY_DIGITS: Final = 12


def token_of(settings: Settings, right: SessionRight) -> Secret | None:
    """The token of a right; None if there is none in the settings."""
    token = settings.web_read_token if right == "read" else settings.web_write_token
    return token or None


def cookie_name(settings: Settings, right: SessionRight) -> str:
    """Names the region too, because browsers send a cookie to all ports of a host."""
    return f"notify_{settings.region}_{right}"


def new_session(settings: Settings, right: SessionRight, now_s: float) -> str:
    """The value of a cookie that is valid for 8 h. It does not reveal the token, which is among the settings."""
    token = token_of(settings, right)
    assert token is not None
    content = f"{int(now_s) + SESSION_S}.{secrets.token_urlsafe(16)}"
    return f"{content}.{_signature(settings, right, token, content)}"


def has_session(cookies: Mapping[str, str], settings: Settings, right: SessionRight, now_s: float) -> bool:
    """Whether a request's cookies hold a session of this region for `right` that has not expired."""
    token = token_of(settings, right)
    value = cookies.get(cookie_name(settings, right), "")
    if token is None or len(value) > _MAX_CHARS or not value.isascii():
        return False
    content, _, signature = value.rpartition(".")
    if not hmac.compare_digest(signature, _signature(settings, right, token, content)):
        return False
    expiry = content.partition(".")[0]
    return expiry.isdigit() and len(expiry) <= _MAX_EXPIRY_DIGITS and now_s < int(expiry)


def _signature(settings: Settings, right: SessionRight, token: Secret, content: str) -> str:
    # The region and the right are signed too: regions may share a token.
    text = f"notify-streams session\0{settings.region}\0{right}\0{content}"
    return hmac.new(token.reveal().encode(), text.encode(), "sha256").hexdigest()
