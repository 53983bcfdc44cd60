"""A push service over HTTPS that decrypts what it gets, and checks who sent it (RFC 8030, 8291, 8292)."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import http_ece
import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from notify_streams.delivery.providers import ProviderConfig
from notify_streams.records.base64url import base64url, from_base64url
from notify_streams.secret import Secret
from tests.contract.providers.scripted_server import Peer, ScriptedServer, serve

SUBJECT = "mailto:ops@example.org"


def pem(key: EllipticCurvePrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def point(key: EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


@dataclass
class Browser:
    """Who receives: it has the keys of its subscription."""

    key: EllipticCurvePrivateKey = field(default_factory=lambda: generate_private_key(SECP256R1()))
    auth: bytes = b"0123456789abcdef"

    def subscription(self, endpoint: str) -> str:
        keys = {"p256dh": base64url(point(self.key.public_key())), "auth": base64url(self.auth)}
        return orjson.dumps({"endpoint": endpoint, "expirationTime": None, "keys": keys}).decode()

    def decrypt(self, body: bytes) -> dict[str, Any]:
        found = http_ece.decrypt(body, private_key=self.key, auth_secret=self.auth, version="aes128gcm")
        content = orjson.loads(found)
        assert isinstance(content, dict)
        return content


@dataclass
class Message:
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class PushService:
    """Answers 201, or what `answer` says; 400, 401 or 403 to a request that is not as the RFCs say."""

    server_key: EllipticCurvePrivateKey
    certificate: Path
    answer: bytes = b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n"
    #: instead of `answer`
    on_message: Callable[[Peer, Message], Awaitable[None]] | None = None
    received: list[Message] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    server: ScriptedServer = field(default_factory=ScriptedServer)

    def endpoint(self, name: str = "a", host: str = "localhost") -> str:
        return f"https://{host}:{self.server.port}/push/{name}"

    def config(self, **but: Any) -> ProviderConfig:
        given = {
            "provider_of": {"push": "web_push"},
            "ca_file": str(self.certificate),
            "start_within_s": 5.0,
            "web_push_key": Secret(pem(self.server_key)),
            "web_push_subject": SUBJECT,
            "web_push_private_hosts": True,
            **but,
        }
        return ProviderConfig(fcm="", twilio="", smtp="", **given)

    async def respond(self, peer: Peer) -> None:
        while True:
            request = await peer.request()
            head, _, body = request.partition(b"\r\n\r\n")
            first, *lines = head.decode().split("\r\n")
            headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
            message = Message(first.split(" ")[1], headers, body)
            self.received.append(message)
            fault = _fault(headers, body, self.server.port, self.server_key.public_key())
            if fault:
                self.faults.append(fault)
                await peer.send(f"HTTP/1.1 {fault[:3]} Refused\r\nContent-Length: 0\r\n\r\n".encode())
            elif self.on_message is not None:
                await self.on_message(peer, message)
            elif self.answer:
                await peer.send(self.answer)


@asynccontextmanager
async def push_service(certificate: Path) -> AsyncIterator[PushService]:
    """A service that knows one application server."""
    service = PushService(generate_private_key(SECP256R1()), certificate)
    async with serve(service.respond, certificate) as server:
        service.server = server
        yield service


def _fault(headers: dict[str, str], body: bytes, port: int, application: EllipticCurvePublicKey) -> str | None:
    if headers.get("content-encoding") != "aes128gcm" or len(body) > 4096:
        return "400 body"
    if not headers.get("ttl", "").isdigit() or headers.get("urgency") not in ("very-low", "low", "normal", "high"):
        return "400 headers"
    topic = headers.get("topic", "t")
    if len(topic) > 32 or not topic.replace("-", "").replace("_", "").isalnum():
        return "400 topic"
    scheme, _, parameters = headers.get("authorization", "").partition(" ")
    found = dict(part.strip().split("=", 1) for part in parameters.split(",") if "=" in part)
    if scheme != "vapid" or found.keys() != {"t", "k"}:
        return "401 no VAPID"
    if from_base64url(found["k"]) != point(application):
        return "403 another key"
    content, _, signature = found["t"].rpartition(".")
    r, s = from_base64url(signature)[:32], from_base64url(signature)[32:]
    try:
        der = encode_dss_signature(int.from_bytes(r, "big"), int.from_bytes(s, "big"))
        application.verify(der, content.encode(), ECDSA(SHA256()))
    except InvalidSignature:
        return "403 signature"
    header, claims = (orjson.loads(from_base64url(part)) for part in content.split("."))
    hosts = {f"https://{host}:{port}" for host in ("localhost", "127.0.0.1")}
    if header != {"alg": "ES256", "typ": "JWT"} or claims["sub"] != SUBJECT or claims["aud"] not in hosts:
        return "403 claims"
    return None if time.time() < claims["exp"] <= time.time() + 24 * 3600 else "403 exp"
