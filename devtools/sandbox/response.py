"""An HTTP answer of a sandboxed provider, as a value."""

from __future__ import annotations

from typing import Any

import msgspec


class HttpReply(msgspec.Struct, frozen=True):
    """A status and a JSON body."""

    status: int
    body: dict[str, Any]
    retry_after_s: float | None = None
