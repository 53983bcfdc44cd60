"""A push service and the browser behind it, server side.

Reads requests, decrypts messages, builds responses.

Sources: RFC 8030 (the service), RFC 8291 (the browser), RFC 8292 (who may send). A message that the browser could not read is refused
here; a real service would take it, and the browser would drop it.
"""

from __future__ import annotations

import re
import time
from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final
from uuid import uuid4

import http_ece
import msgspec
import orjson
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from devtools.sandbox.es256_token import verified
from devtools.sandbox.fault_injection import Failure
from devtools.sandbox.messages import HttpReply, IncomingMessage, PushContent, marks
from notify_streams.field_errors import DECODE_ERRORS
from notify_streams.records.base64url import base64url, from_base64url

#: RFC 8030 §7.2: a service must take so many bytes, and no more are taken here.
_LARGEST_BODY: Final = 4096
#: RFC 8188 §2.1: salt, record size, length of the key id; then the key id, a point.
_POINT_BYTES: Final = 65
_HEAD_BYTES: Final = 16 + 4 + 1 + _POINT_BYTES
_TTL: Final = re.compile(r"[0-9]{1,10}")
_URGENCY: Final = ("very-low", "low", "normal", "high")
#: RFC 8030 §5.4. Apple's service decodes it: no base64 has one character more than a multiple of four (AltanS/collie#90).
_TOPIC: Final = re.compile(r"[A-Za-z0-9_-]{1,32}")
#: As Apple's service: no host without a dot, and none that cannot be on the Internet.
_SUBJECT: Final = re.compile(
    r"(?:mailto:[!-~]+@|https://)[A-Za-z0-9.-]+\.(?!(?i:invalid|localhost)\b)[A-Za-z0-9-]+([/:][!-~]*)?"
)
#: RFC 8292 §2
_LONGEST_TOKEN_S: Final = 24 * 3600
_SHOWN_HEADERS: Final = ("ttl", "urgency", "topic")


class Browser:
    """Has one key for all of its subscriptions."""

    def __init__(self, key: EllipticCurvePrivateKey) -> None:
        self._key = key
        self._point = point(key.public_key())
        self._auth = sha256(key.private_numbers().private_value.to_bytes(32, "big")).digest()[:16]

    def subscription(self, endpoint: str) -> str:
        """As a browser's `JSON.stringify(subscription)`."""
        keys = {"p256dh": base64url(self._point), "auth": base64url(self._auth)}
        return orjson.dumps({"endpoint": endpoint, "expirationTime": None, "keys": keys}).decode()

    def decrypt(self, body: bytes) -> bytes:
        """The content of a message.

        Raises:
            ValueError: it is not one for this browser, or not one record (RFC 8291 §4).
        """
        if len(body) <= _HEAD_BYTES or body[20] != _POINT_BYTES:
            raise ValueError("no header with a key")
        if len(body) - _HEAD_BYTES > int.from_bytes(body[16:20], "big"):
            raise ValueError("more than one record")
        try:
            found: bytes = http_ece.decrypt(body, private_key=self._key, auth_secret=self._auth, version="aes128gcm")
        except http_ece.ECEException as error:
            raise ValueError(str(error)) from None
        return found


def endpoint(port: int, name: str) -> str:
    """Where the messages for a browser go; `name` consists of at most 64 letters, digits, `_` and `-`."""
    return f"https://127.0.0.1:{port}/push/{name}"


def read(
    at: float,
    url: str,
    headers: Mapping[str, str],
    body: bytes,
    application: EllipticCurvePublicKey,
    browser: Browser,
) -> IncomingMessage | HttpReply:
    """The message of a POST to the endpoint `url`, or the response to one that is refused. Names in `headers` are in lower case."""
    if problem := _bad_header(headers) or _bad_sender(headers, url, application):
        return _refusal(*problem)
    if len(body) > _LARGEST_BODY:
        return _refusal(413, f"the body has {len(body)} bytes, more than {_LARGEST_BODY}")
    if headers.get("content-encoding") != "aes128gcm":
        return _refusal(400, "Content-Encoding is not aes128gcm")
    try:
        content = browser.decrypt(body)
    except ValueError as error:
        return _refusal(400, f"the browser cannot decrypt the message: {error}")
    try:
        data = msgspec.json.decode(content, type=dict[str, Any]).get("data")
        payload = content
    except DECODE_ERRORS:  # text of another application
        data, payload = None, msgspec.json.encode(b64encode(content).decode())
    shown = {name: headers[name] for name in _SHOWN_HEADERS if name in headers}
    kept = msgspec.json.encode(PushContent(shown, msgspec.Raw(payload)))
    return IncomingMessage(at, "web_push", "push", browser.subscription(url), marks(data), kept)


def accepted(origin: str) -> HttpReply:
    return HttpReply(201, {}, location=f"{origin}/message/{uuid4().hex}")


def dead() -> HttpReply:
    """RFC 8030 §7.3; many services answer 410."""
    return _refusal(410, "the subscription has expired")


def unknown() -> HttpReply:
    return _refusal(404, "there is no such subscription")


def failed(failure: Failure) -> HttpReply:
    return _refusal(failure.status, "refused by the sandbox", failure.retry_after_s)


def point(key: EllipticCurvePublicKey) -> bytes:
    """Uncompressed."""
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def _bad_header(headers: Mapping[str, str]) -> tuple[int, str] | None:
    if not _TTL.fullmatch(headers.get("ttl", "")):
        return 400, "TTL is missing, or not a number of seconds"
    if headers.get("urgency", "normal") not in _URGENCY:
        return 400, "Urgency is none of very-low, low, normal and high"
    topic = headers.get("topic", "none")
    if not _TOPIC.fullmatch(topic) or len(topic) % 4 == 1:
        return 400, "Topic is not 1 to 32 characters of base64url"
    return None


def _bad_sender(headers: Mapping[str, str], url: str, application: EllipticCurvePublicKey) -> tuple[int, str] | None:
    """RFC 8292 §4.2: 401 without a token, 403 with one that is not valid for the subscription."""
    scheme, _, parameters = headers.get("authorization", "").partition(" ")
    found = dict(part.strip().split("=", 1) for part in parameters.split(",") if "=" in part)
    if scheme.lower() != "vapid" or found.keys() != {"t", "k"}:
        return 401, "no VAPID token"
    try:
        if from_base64url(found["k"]) != point(application):
            return 403, "the subscription belongs to another key"
        _, claims = verified(found["t"], application)
    except ValueError as error:
        return 403, f"the token is not valid: {error}"
    origin = "/".join(url.split("/")[:3])
    if claims.get("aud") != origin:
        return 403, f"the token is not for {origin}"
    if not (isinstance(subject := claims.get("sub"), str) and _SUBJECT.fullmatch(subject)):
        return 403, "the token's subject is no mailto: or https: address"
    now, expires = time.time(), claims.get("exp")
    if not (isinstance(expires, int | float) and now < expires <= now + _LONGEST_TOKEN_S):
        return 403, "the token has expired, or is valid for more than 24 hours"
    return None


def _refusal(status: int, text: str, retry_after_s: float | None = None) -> HttpReply:
    return HttpReply(status, {"code": status, "error": text}, retry_after_s)
