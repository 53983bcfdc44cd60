"""Apple Push Notification service, server side: reads requests, builds responses.

Sources: https://developer.apple.com/documentation/usernotifications/sending-notification-requests-to-apns (headers),
…/establishing-a-token-based-connection-to-apns (tokens), …/handling-notification-responses-from-apns (statuses and reasons).
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

from devtools.sandbox.es256_token import verified
from devtools.sandbox.fault_injection import Failure
from devtools.sandbox.http2_server import Request
from devtools.sandbox.keys import TEAM_ID
from devtools.sandbox.messages import HttpReply, IncomingMessage, PushContent, marks
from notify_streams.field_errors import DECODE_ERRORS

_PATH: Final = "/3/device/"
#: "APNs device tokens are of variable length." All so far have 32 bytes or more. No device has zeros alone.
_DEVICE: Final = re.compile(r"(?!0+\Z)(?:[0-9A-Fa-f]{2}){32,100}")
_BUNDLE_ID: Final = re.compile(r"[A-Za-z0-9.-]{1,255}")
_UUID: Final = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")
_PUSH_TYPES: Final = frozenset(
    [
        "alert",
        "background",
        "controls",
        "location",
        "voip",
        "complication",
        "fileprovider",
        "mdm",
        "liveactivity",
        "pushtotalk",
        "widgets",
    ]
)
_LARGEST_PAYLOAD: Final = 4096
_LARGEST_VOIP: Final = 5120
_LONGEST_COLLAPSE_ID: Final = 64
_TOKEN_VALID_S: Final = 3600
#: Clocks may differ by so much.
_CLOCK_S: Final = 60
_RENEWABLE_AFTER_S: Final = 20 * 60
_SHOWN_HEADERS: Final[Sequence[str]] = (
    "apns-topic",
    "apns-push-type",
    "apns-priority",
    "apns-expiration",
    "apns-collapse-id",
)
#: The reason of a fault without a code.
_REASON: Final = {
    400: "BadMessageId",
    403: "InvalidProviderToken",
    404: "BadPath",
    405: "MethodNotAllowed",
    410: "Unregistered",
    413: "PayloadTooLarge",
    429: "TooManyRequests",
    500: "InternalServerError",
    503: "ServiceUnavailable",
}


class Sender:
    """Verifies the tokens of one connection: all of the key that signed the first one, and renewed at most once in 20 minutes."""

    def __init__(self, keys: Mapping[str, EllipticCurvePublicKey]) -> None:
        """`keys`: the team's, by key id; none is related to another one."""
        self._keys = keys
        #: Of the first valid token.
        self._key_id: str | None = None
        self._token: str | None = None
        #: When it was used first.
        self._since = 0.0

    def refusal(self, authorization: str, now: float) -> HttpReply | None:
        """The response to a request without a valid token."""
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token:
            return error(403, "MissingProviderToken")
        key_id, claims = self._signer(token)
        issued = claims.get("iat")
        if key_id is None or claims.get("iss") != TEAM_ID or not isinstance(issued, int | float):
            return error(403, "InvalidProviderToken")
        if issued > now + _CLOCK_S:
            return error(403, "InvalidProviderToken")
        if issued < now - _TOKEN_VALID_S:
            return error(403, "ExpiredProviderToken")
        if key_id != (self._key_id or key_id):
            return error(403, "UnrelatedKeyIdInToken")
        if token != self._token:
            if now - self._since < _RENEWABLE_AFTER_S:
                return error(429, "TooManyProviderTokenUpdates")
            self._key_id, self._token, self._since = key_id, token, now
        return None

    def _signer(self, token: str) -> tuple[str | None, dict[str, Any]]:
        """The id of the key that has signed a token, and its claims; None: no key that the token names."""
        for key_id, key in self._keys.items():
            with suppress(ValueError):
                header, claims = verified(token, key)
                if header.get("kid") == key_id:
                    return key_id, claims
        return None, {}


def read(at: float, request: Request, sender: Sender) -> IncomingMessage | HttpReply:
    """The message of a request, or APNs' response to one that is refused."""
    headers = request.headers
    path = headers.get(":path", "")
    if headers.get(":method") != "POST":
        return error(405, "MethodNotAllowed")
    if not path.startswith(_PATH):
        return error(404, "BadPath")
    if refusal := sender.refusal(headers.get("authorization", ""), at):
        return refusal
    if reason := _bad_header(request) or _bad_device(path.removeprefix(_PATH)):
        return error(400, reason)
    largest = _LARGEST_VOIP if headers.get("apns-push-type") == "voip" else _LARGEST_PAYLOAD
    if len(request.body) > largest:
        return error(413, "PayloadTooLarge")
    try:
        payload = msgspec.json.decode(request.body, type=dict[str, Any])
    except DECODE_ERRORS:
        payload = {}
    if not payload:
        return error(400, "PayloadEmpty")
    shown = {name: headers[name] for name in _SHOWN_HEADERS if name in headers}
    content = msgspec.json.encode(PushContent(shown, msgspec.Raw(request.body)))
    return IncomingMessage(at, "apns", "push", path.removeprefix(_PATH), marks(payload), content)


def dead() -> HttpReply:
    """The app was removed from the device."""
    return HttpReply(410, {"reason": "Unregistered", "timestamp": int(time.time() * 1000)})


def failed(failure: Failure) -> HttpReply:
    reason = failure.code or _REASON.get(failure.status, "InternalServerError")
    return error(failure.status, reason, failure.retry_after_s)


def error(status: int, reason: str, retry_after_s: float | None = None) -> HttpReply:
    return HttpReply(status, {"reason": reason}, retry_after_s)


def _bad_header(request: Request) -> str | None:
    """The reason of the first header that is wrong."""
    headers = request.headers
    if len(headers) < len(request.fields):
        return "DuplicateHeaders"
    if "apns-id" in headers and not _UUID.fullmatch(headers["apns-id"]):
        return "BadMessageId"
    if not headers.get("apns-expiration", "0").isdecimal():
        return "BadExpirationDate"
    if headers.get("apns-priority", "10") not in ("1", "5", "10"):
        return "BadPriority"
    if headers.get("apns-push-type", "alert") not in _PUSH_TYPES:
        return "InvalidPushType"
    if len(headers.get("apns-collapse-id", "").encode()) > _LONGEST_COLLAPSE_ID:
        return "BadCollapseId"
    if not headers.get("apns-topic"):
        return "MissingTopic"
    return None if _BUNDLE_ID.fullmatch(headers["apns-topic"]) else "BadTopic"


def _bad_device(token: str) -> str | None:
    if not token:
        return "MissingDeviceToken"
    return None if _DEVICE.fullmatch(token) else "BadDeviceToken"
