"""Log lines about writes and refused requests, without tokens and user ids."""

from __future__ import annotations

import logging
from hashlib import sha256
from typing import TYPE_CHECKING

from notify_streams import metrics

if TYPE_CHECKING:
    from aiohttp.web import Request

log = logging.getLogger(__name__)


def refused(request: Request, view: str, status: int) -> None:
    """A request without a valid token. The metric counts all; the log has one line a minute for each view (`logs.RepeatFilter`)."""
    metrics.WEB_REFUSED.labels("token").inc()
    log.warning("request refused", extra={"action": "audit.refused", **_fields(request, view, status)})


def written(request: Request, view: str, user_id: str, status: int) -> None:
    """A request that may have changed a user's data, by a client with the write token. Each leaves a line."""
    fields = _fields(request, view, status) | {"user": user_digest(user_id)}
    log.info("user data written", extra={"action": "audit.write", "every_line": True, **fields})


def logged_in(request: Request, view: str, right: str) -> None:
    """A browser has got a session."""
    fields = _fields(request, view, 303) | {"right": right}
    log.info("logged in", extra={"action": "audit.login", "every_line": True, **fields})


def user_digest(user_id: str) -> str:
    """What stands for a user in the log: the first 16 digits of ``printf %s <user id> | sha256sum``."""
    return sha256(user_id.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _fields(request: Request, view: str, status: int) -> dict[str, object]:
    return {"view": view, "method": request.method, "status": status, "remote": request.remote}
