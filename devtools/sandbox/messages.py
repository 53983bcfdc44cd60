"""What the sandbox's protocols read from a request and write as a response."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from devtools.sandbox.fault_injection import ProviderName
from notify_streams.records.names import MARK_PREFIX


class IncomingMessage(msgspec.Struct, frozen=True):
    """A valid message, independent of its protocol."""

    #: Unix seconds: when the request began to arrive.
    at: float
    provider: ProviderName
    channel: str
    to: str
    #: As `delivery_metadata` names it, with the application's data; each mark may be missing.
    metadata: Mapping[str, str]
    #: As it was received; of APNs and Web Push a `PushContent` in JSON.
    content: bytes = b""


class PushContent(msgspec.Struct, frozen=True):
    """A push whose headers say something that a device acts upon."""

    headers: dict[str, str]
    #: APNs: the body; Web Push: the decrypted message.
    payload: msgspec.Raw


class HttpReply(msgspec.Struct, frozen=True):
    """A status and a JSON body."""

    status: int
    body: dict[str, Any]
    retry_after_s: float | None = None
    location: str | None = None


def marks(data: object) -> dict[str, str]:
    """The delivery metadata in a message's data."""
    if not isinstance(data, dict):
        return {}
    return {name: text for name, text in data.items() if name.startswith(MARK_PREFIX) and isinstance(text, str)}
