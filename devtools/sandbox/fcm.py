"""FCM's HTTP v1 API, server side: reads requests, builds responses.

Sources: https://firebase.google.com/docs/reference/fcm/rest/v1/projects.messages, …/v1/ErrorCode and
https://firebase.google.com/docs/cloud-messaging/error-codes (the shapes of errors).
"""

from __future__ import annotations

import itertools
import re
from typing import Annotated, Any, Literal

import msgspec

from devtools.sandbox.fault_injection import Failure
from devtools.sandbox.messages import HttpReply, IncomingMessage

#: Bytes of the keys and values of notification and data together.
_LARGEST_PAYLOAD = 4096
_LONGEST_TTL_S = 2_419_200
_TOKEN = re.compile(r"[!-~]+")
_RESERVED = re.compile(r"from|message_type|google.*|gcm.*", re.DOTALL)
#: HTTP status → the canonical status of Google's APIs, FCM's own code.
_STATUS = {
    400: ("INVALID_ARGUMENT", "INVALID_ARGUMENT"),
    401: ("UNAUTHENTICATED", "THIRD_PARTY_AUTH_ERROR"),
    403: ("PERMISSION_DENIED", "SENDER_ID_MISMATCH"),
    404: ("NOT_FOUND", "UNREGISTERED"),
    429: ("RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED"),
    500: ("INTERNAL", "INTERNAL"),
    503: ("UNAVAILABLE", "UNAVAILABLE"),
}
_numbers = itertools.count(1)


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """FCM refuses a field that it does not know."""


class _Notification(_Part, frozen=True):
    title: str | None = None
    body: str | None = None
    image: str | None = None


class _Android(_Part, frozen=True):
    priority: Literal["NORMAL", "HIGH", "normal", "high"] = "NORMAL"
    ttl: Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,9}(\.[0-9]{1,9})?s\Z")] = "0s"
    collapse_key: str | None = None
    restricted_package_name: str | None = None
    data: dict[str, str] = {}
    notification: dict[str, Any] = {}


class _Message(_Part, frozen=True):
    token: str | None = None
    data: dict[str, str] = {}
    notification: _Notification = _Notification()
    android: _Android = _Android()
    apns: dict[str, Any] = {}
    webpush: dict[str, Any] = {}
    fcm_options: dict[str, Any] = {}


class _Request(_Part, frozen=True):
    message: _Message
    validate_only: bool = False


_decode = msgspec.json.Decoder(_Request).decode


def read(at: float, project: str, authorization: str | None, body: bytes) -> IncomingMessage | HttpReply:
    """The message of a `messages:send` call, or FCM's response to one that is refused or only validated."""
    if not (authorization or "").startswith("Bearer ") or authorization == "Bearer ":
        return _reply(401, "Request had invalid authentication credentials.", [])
    try:
        message = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as problem:
        return _reply(400, f"Invalid JSON payload received. {problem}", [_bad_request("message", str(problem))])
    found = _checked(at, message.message)
    if message.validate_only and isinstance(found, IncomingMessage):
        return HttpReply(200, {"name": f"projects/{project}/messages/fake_message_id"})
    return found


def _checked(at: float, message: _Message) -> IncomingMessage | HttpReply:
    if message.token is None:
        return _invalid("message", "Recipient of the message is not set.")
    if not _TOKEN.fullmatch(message.token):
        return _reply(400, "The registration token is not a valid FCM registration token", [_fcm_error(400)])
    if any(map(_RESERVED.fullmatch, message.data)):
        return _invalid("message.data", "Invalid data payload key")
    if float(message.android.ttl[:-1]) > _LONGEST_TTL_S:
        return _invalid("message.android.ttl", f"Invalid TTL: at most {_LONGEST_TTL_S}s")
    notification = {name: text for name, text in msgspec.structs.asdict(message.notification).items() if text}
    parts = itertools.chain(notification.items(), message.data.items())
    if sum(len(name.encode()) + len(text.encode()) for name, text in parts) > _LARGEST_PAYLOAD:
        return _invalid("message", "Android message is too big")
    return IncomingMessage(at, "fcm", "push", message.token, message.data)


def accepted(project: str) -> HttpReply:
    return HttpReply(200, {"name": f"projects/{project}/messages/{next(_numbers)}"})


def dead() -> HttpReply:
    return _reply(404, "Requested entity was not found.", [_fcm_error(404)])


def failed(failure: Failure) -> HttpReply:
    details = [_fcm_error(failure.status, failure.code)]
    return _reply(failure.status, "refused by the sandbox", details, failure.retry_after_s)


def _invalid(field: str, description: str) -> HttpReply:
    return _reply(400, description, [_bad_request(field, description), _fcm_error(400)])


def _bad_request(field: str, description: str) -> dict[str, Any]:
    violations = [{"field": field, "description": description}]
    return {"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": violations}


def _fcm_error(status: int, code: str | None = None) -> dict[str, Any]:
    code = code or _STATUS.get(status, ("", "UNSPECIFIED_ERROR"))[1]
    return {"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": code}


def _reply(status: int, text: str, details: list[dict[str, Any]], retry_after_s: float | None = None) -> HttpReply:
    """An error in the form of Google's APIs."""
    content: dict[str, Any] = {"code": status, "message": text, "status": _STATUS.get(status, ("UNKNOWN", ""))[0]}
    if details:
        content["details"] = details
    return HttpReply(status, {"error": content}, retry_after_s)
