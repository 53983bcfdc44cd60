"""Headers of pushes for expiry, priority and collapse.

Those of APNs and Web Push; FCM passes them on.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from notify_streams.delivery.providers.ttl import ttl_s
from notify_streams.records.base64url import base64url

if TYPE_CHECKING:
    from notify_streams.delivery.providers.provider import Outgoing

#: APNs keeps a message for at most 30 days.
_MAX_APNS_TTL_S: Final = 30 * 24 * 3600
#: The largest number that push services are known to take; they may use a smaller one.
MAX_WEB_PUSH_TTL_S: Final = 4 * 7 * 24 * 3600
_COLLAPSE_ID: Final = re.compile(r"[!-~]{1,64}")
#: 24 bytes are 32 characters, the largest topic (RFC 8030, section 5.4).
_TOPIC_BYTES: Final = 24


def apns_headers(message: Outgoing, now_ms: int) -> dict[str, str]:
    """``apns-priority``, and if the message has them ``apns-expiration`` and ``apns-collapse-id``."""
    headers = {"apns-priority": "10" if message.critical else "5"}
    if (ttl := ttl_s(message.expires_at_ms, now_ms, _MAX_APNS_TTL_S)) is not None:
        # 0: not stored
        headers["apns-expiration"] = str(now_ms // 1000 + ttl) if ttl else "0"
    if message.collapse_key is not None:
        headers["apns-collapse-id"] = _collapse_id(message.collapse_key)
    return headers


def web_push_headers(message: Outgoing, now_ms: int) -> dict[str, str]:
    """``Urgency``, and if the message has them ``TTL`` and ``Topic``."""
    headers = {"Urgency": "high" if message.critical else "normal"}
    if (ttl := ttl_s(message.expires_at_ms, now_ms, MAX_WEB_PUSH_TTL_S)) is not None:
        headers["TTL"] = str(ttl)
    if message.collapse_key is not None:
        headers["Topic"] = base64url(sha256(message.collapse_key.encode()).digest()[:_TOPIC_BYTES])
    return headers


def _collapse_id(key: str) -> str:
    """`key`, or its hash if it has more than 64 bytes or characters that a header may not have."""
    return key if _COLLAPSE_ID.fullmatch(key) else base64url(sha256(key.encode()).digest())
