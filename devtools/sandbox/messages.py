"""What the sandbox's protocols read from a request and write as a response."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from devtools.sandbox.fault_injection import ProviderName


class IncomingMessage(msgspec.Struct, frozen=True):
    """A valid message, independent of its protocol."""

    #: Unix seconds: when the request began to arrive.
    at: float
    provider: ProviderName
    channel: str
    to: str
    #: As `delivery_metadata` names it, with the application's data; each mark may be missing.
    metadata: Mapping[str, str]
    #: As it was received.
    content: bytes = b""


class HttpReply(msgspec.Struct, frozen=True):
    """A status and a JSON body."""

    status: int
    body: dict[str, Any]
    retry_after_s: float | None = None
