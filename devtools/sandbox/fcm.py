"""FCM's HTTP v1 API, server side: reads requests, builds responses.

Source: https://firebase.google.com/docs/reference/fcm/rest/v1/projects.messages/send and …/v1/ErrorCode.
"""

from __future__ import annotations

import itertools
from typing import Any

import orjson

from devtools.sandbox.fault_injection import Failure
from devtools.sandbox.messages import HttpReply, IncomingMessage

#: FCM's limit for the application's data.
_LARGEST_DATA = 4096
_STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "SENDER_ID_MISMATCH",
    404: "UNREGISTERED",
    429: "QUOTA_EXCEEDED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
}
_numbers = itertools.count(1)


def read(at: float, authorization: str | None, body: bytes) -> IncomingMessage | HttpReply:
    """The message of a `messages:send` call, or the error response that FCM would send."""
    if not (authorization or "").startswith("Bearer ") or authorization == "Bearer ":
        return error(401)
    try:
        message = orjson.loads(body)["message"]
        token, data = message["token"], message.get("data") or {}
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        return error(400)
    if not (isinstance(token, str) and token and isinstance(data, dict)):
        return error(400)
    size = 0
    for key, value in data.items():
        if not isinstance(value, str) or key in ("from", "message_type") or key.startswith(("google", "gcm")):
            return error(400)
        size += len(key) + len(value)
    if size > _LARGEST_DATA:
        return error(400)
    return IncomingMessage(at, "fcm", "push", token, data)


def accepted(project: str) -> HttpReply:
    return HttpReply(200, {"name": f"projects/{project}/messages/{next(_numbers)}"})


def dead() -> HttpReply:
    return error(404)


def failed(failure: Failure) -> HttpReply:
    return error(failure.status, failure.code, failure.retry_after_s)


def error(status: int, code: str | None = None, retry_after_s: float | None = None) -> HttpReply:
    """An error in the form of Google's APIs."""
    code = code or _STATUS.get(status, "UNSPECIFIED_ERROR")
    content: dict[str, Any] = {
        "code": status,
        "message": "refused by the sandbox",
        "status": "NOT_FOUND" if status == 404 else code,
        "details": [{"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": code}],
    }
    return HttpReply(status, {"error": content}, retry_after_s)
