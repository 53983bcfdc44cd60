"""Log lines about writes and refused requests, without tokens and user ids."""

from __future__ import annotations

import logging
import time
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from notify_streams import metrics

if TYPE_CHECKING:
    from aiohttp.web import Request

log = logging.getLogger(__name__)

_EVERY_S: Final = 60.0
_LINES: Final = 20


class RefusalCount:
    """Allows `_LINES` lines a minute; the first line of a later minute says how many were left out."""

    def __init__(self) -> None:
        self._began_s = -_EVERY_S
        self._count = 0

    def left_out(self, now_s: float) -> int | None:
        """Count one. None if it gets no line, else how many got none since the last line."""
        if now_s - self._began_s >= _EVERY_S:
            missed = max(0, self._count - _LINES)
            self._began_s, self._count = now_s, 1
            return missed
        self._count += 1
        return 0 if self._count <= _LINES else None


_refusals: Final = RefusalCount()


def refused(request: Request, view: str, status: int) -> None:
    """A request without a valid token. The lines are bounded, the metric counts all."""
    metrics.WEB_REFUSED.labels("token").inc()
    left_out = _refusals.left_out(time.monotonic())
    if left_out is not None:
        log.warning(
            "request refused",
            extra={
                "action": "audit.refused",
                "view": view,
                "method": request.method,
                "status": status,
                "remote": request.remote,
                "left_out": left_out,
            },
        )


def written(request: Request, view: str, user_id: str, status: int) -> None:
    """A request that may have changed a user's data, by a client with the write token."""
    log.info(
        "user data written",
        extra={
            "action": "audit.write",
            "view": view,
            "method": request.method,
            "status": status,
            "remote": request.remote,
            "user": user_digest(user_id),
        },
    )


def user_digest(user_id: str) -> str:
    """What stands for a user in the log: the first 16 digits of ``printf %s <user id> | sha256sum``."""
    return sha256(user_id.encode("utf-8", "surrogateescape")).hexdigest()[:16]
