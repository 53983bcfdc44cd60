"""Reads a Web Push subscription.

The text is `JSON.stringify(subscription)` of a browser: https://www.w3.org/TR/push-api/#dom-pushsubscription-tojson.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

import msgspec

from notify_streams.records.base64url import from_base64url

_URL: Final = re.compile(r"https://[!-~]+")
_POINT_BYTES: Final = 65
_UNCOMPRESSED: Final = 4
_AUTH_BYTES: Final = 16


class PushSubscription(msgspec.Struct, frozen=True):
    """Where a browser receives messages, and the keys that they are encrypted with (RFC 8291)."""

    #: an https:// URL, as secret as a password
    endpoint: str
    #: an uncompressed point, which may not be on the curve
    p256dh: bytes
    auth: bytes


class _Keys(msgspec.Struct):
    p256dh: str
    auth: str


class _Json(msgspec.Struct):
    endpoint: str
    keys: _Keys


def push_subscription(text: str) -> PushSubscription | None:
    """The subscription in `text`: a JSON object with `endpoint` (https) and `keys` (`p256dh`, `auth`); None if it is not one."""
    try:
        found = msgspec.json.decode(text, type=_Json)
        point, auth = from_base64url(found.keys.p256dh), from_base64url(found.keys.auth)
        parts = urlsplit(found.endpoint)
        parts.port  # noqa: B018  # raises ValueError
    except (ValueError, RecursionError):
        return None
    if not _URL.fullmatch(found.endpoint) or not parts.hostname or "@" in parts.netloc or parts.fragment:
        return None
    if len(point) != _POINT_BYTES or point[0] != _UNCOMPRESSED or len(auth) != _AUTH_BYTES:
        return None
    return PushSubscription(found.endpoint, point, auth)
