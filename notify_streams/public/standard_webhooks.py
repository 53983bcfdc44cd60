"""Signatures of Standard Webhooks, version 1.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import hmac
from base64 import b64decode, b64encode
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: The longest difference between the time of a webhook and ours.
TOLERANCE_S: Final = 300.0
_PREFIX: Final = "whsec_"
_MAX_ID: Final = 256
_MAX_SIGNATURES: Final = 16


class WebhookKeys:
    """Checks webhooks with each of several secrets."""

    def __init__(self, secrets: Sequence[str]) -> None:
        """`secrets`: ``whsec_`` and base64."""
        self._keys = [b64decode(secret.removeprefix(_PREFIX)) for secret in secrets]

    def verified(self, headers: Mapping[str, str], body: bytes, now_s: float) -> tuple[str, datetime] | None:
        """The id and the time of a webhook; None if it is not signed with one of the secrets, or not within the tolerance."""
        webhook_id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
        if not 0 < len(webhook_id) <= _MAX_ID or not (
            timestamp.isascii() and timestamp.isdigit() and len(timestamp) < 12
        ):
            return None
        if abs(now_s - int(timestamp)) > TOLERANCE_S:
            return None
        text = f"{webhook_id}.{timestamp}.".encode("utf-8", "surrogateescape") + body
        expected = [b"v1," + b64encode(hmac.digest(key, text, "sha256")) for key in self._keys]
        found = False
        for signature in headers.get("webhook-signature", "").split(" ", _MAX_SIGNATURES)[:_MAX_SIGNATURES]:
            given = signature.encode("utf-8", "surrogateescape")
            for one in expected:
                found |= hmac.compare_digest(one, given)
        return (webhook_id, datetime.fromtimestamp(int(timestamp), UTC)) if found else None


class SeenIds:
    """The ids of webhooks that were applied, for as long as they could be sent again. Bounded."""

    def __init__(self, max_ids: int = 100_000) -> None:
        self._max = max_ids
        #: Id → when it was seen (seconds), the oldest first.
        self._ids: dict[str, float] = {}

    def __contains__(self, webhook_id: str) -> bool:
        return webhook_id in self._ids

    def add(self, webhook_id: str, now_s: float) -> None:
        self._ids[webhook_id] = now_s
        while self._ids and (len(self._ids) > self._max or next(iter(self._ids.values())) < now_s - 2 * TOLERANCE_S):
            del self._ids[next(iter(self._ids))]
