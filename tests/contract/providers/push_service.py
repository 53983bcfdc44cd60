"""A push service over HTTPS that does with each valid message what a test says."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key

from devtools.sandbox.keys import SUBJECT, pem
from devtools.sandbox.messages import HttpReply
from devtools.sandbox.web_push import Browser, read
from notify_streams.delivery.providers import ProviderConfig
from notify_streams.secret import Secret
from tests.contract.providers.scripted_server import Peer, ScriptedServer, serve


@dataclass
class Message:
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class PushService:
    """Answers 201, or what `answer` says, but refuses what the sandbox's push service refuses."""

    server_key: EllipticCurvePrivateKey
    certificate: Path
    answer: bytes = b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n"
    #: instead of `answer`
    on_message: Callable[[Peer, Message], Awaitable[None]] | None = None
    received: list[Message] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    server: ScriptedServer = field(default_factory=ScriptedServer)
    #: who receives
    browser: Browser = field(default_factory=lambda: Browser(generate_private_key(SECP256R1())))

    def endpoint(self, name: str = "a", host: str = "localhost") -> str:
        return f"https://{host}:{self.server.port}/push/{name}"

    def config(self, **but: Any) -> ProviderConfig:
        given = {
            "push_provider": "web_push",
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
            endpoint = f"https://{headers['host']}{message.path}"
            found = read(0.0, endpoint, headers, body, self.server_key.public_key(), self.browser)
            if isinstance(found, HttpReply):
                self.faults.append(f"{found.status} {found.body['error']}")
                await peer.send(f"HTTP/1.1 {found.status} Refused\r\nContent-Length: 0\r\n\r\n".encode())
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
