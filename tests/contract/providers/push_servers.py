"""Strict servers as those of APNs and of a push service. They take the orders of the sandbox and write its record."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import jwt
import msgspec
import orjson
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from h2.settings import SettingCodes

from notify_streams.admin.audit.provider_log import AcceptedMessage, contact_sha, read_provider_log
from notify_streams.delivery.providers import ProviderConfig
from notify_streams.secret import Secret
from tests.contract.providers import http2_server, scripted_server
from tests.contract.providers.http2_server import Http2Server, serve_http2
from tests.contract.providers.push_service import Browser, Message, PushService, pem
from tests.contract.providers.scripted_server import ScriptedServer, serve


class PushServer(ABC):
    """A provider on a port that stays the same. Has the methods of `SandboxProcess` that the contract's tests use."""

    name: str

    def __init__(self, certificate: Path, record: Path) -> None:
        self.certificate = certificate
        self.record = record
        self.port = 0
        self.orders: dict[str, Any] = {}
        self._running: AbstractAsyncContextManager[Http2Server | ScriptedServer] | None = None
        record.touch()

    async def start(self) -> None:
        self._running = self._serve()
        self.port = (await self._running.__aenter__()).port

    async def kill(self) -> None:
        running, self._running = self._running, None
        if running is not None:
            await running.__aexit__(None, None, None)

    async def control(self, *, provider: str, **orders: Any) -> None:
        assert provider == self.name
        self.orders = orders

    async def behave(self) -> None:
        self.orders = {}

    def accepted(self, delivery_id: str) -> list[AcceptedMessage]:
        return [line for line in read_provider_log(self.record) if line.delivery_id == delivery_id]

    def config(self, **but: Any) -> ProviderConfig:
        given = {
            "provider_of": {"push": self.name},
            "ca_file": str(self.certificate),
            "start_within_s": 5.0,
            "max_in_flight": 32,
            **self.credentials(),
            **but,
        }
        return ProviderConfig(fcm="", twilio="", smtp="", **given)

    @abstractmethod
    def contact(self, number: int) -> str:
        """A contact of its kind."""

    @abstractmethod
    def credentials(self) -> dict[str, Any]:
        """Fields of `ProviderConfig`."""

    @abstractmethod
    def _serve(self) -> AbstractAsyncContextManager[Http2Server | ScriptedServer]: ...

    def _refusal(self, to: str) -> tuple[int, float | None] | None:
        """The status and delay that the orders ask for."""
        if to in self.orders.get("dead_tokens", ()):
            return 410, None
        fail = self.orders.get("fail")
        return (fail["status"], fail.get("retry_after_s")) if fail else None

    def _accept(self, to: str, metadata: Mapping[str, Any], at: float) -> None:
        line = AcceptedMessage(
            at=at,
            done=time.time(),
            provider=self.name,
            channel="push",
            delivery_id=metadata["notify_delivery_id"],
            notification_id=metadata["notify_notification_id"],
            attempt=int(metadata["notify_attempt"]),
            possible_duplicate=metadata.get("notify_possible_duplicate") == "1",
            critical=metadata.get("notify_critical") == "1",
            to_sha=contact_sha(to),
            decided_at=metadata.get("notify_decided_at"),
        )
        with self.record.open("ab") as file:
            file.write(msgspec.json.encode(line) + b"\n")


class ApnsServer(PushServer):
    """Refuses a request without a token of its key."""

    name = "apns"

    def __init__(self, certificate: Path, record: Path) -> None:
        super().__init__(certificate, record)
        self._key = generate_private_key(SECP256R1())

    def contact(self, number: int) -> str:
        return f"{number:064x}"

    def credentials(self) -> dict[str, Any]:
        return {
            "apns": f"https://127.0.0.1:{self.port}",
            "apns_team_id": "TEAM",
            "apns_key_id": "KEY",
            "apns_key": Secret(pem(self._key)),
            "apns_topic": "example.app",
        }

    def _serve(self) -> AbstractAsyncContextManager[Http2Server | ScriptedServer]:
        settings = {SettingCodes.MAX_CONCURRENT_STREAMS: 1000}
        return serve_http2(self._request, self.certificate, port=self.port, settings=settings)

    def _request(self, peer: http2_server.Peer, stream: int) -> None:
        if self.orders.get("hang"):
            return
        request, at = peer.requests[stream], time.time()
        to = request.headers[":path"].removeprefix("/3/device/")
        try:
            jwt.decode(request.headers["authorization"].removeprefix("bearer "), self._key.public_key(), ["ES256"])
        except jwt.InvalidTokenError:
            peer.respond(stream, 403, b'{"reason": "InvalidProviderToken"}')
            return
        if (refusal := self._refusal(to)) is not None:
            status, retry_after_s = refusal
            reason = {410: "Unregistered", 429: "TooManyRequests"}.get(status, "BadMessageId")
            headers = {} if retry_after_s is None else {"retry_after": str(retry_after_s)}
            peer.respond(stream, status, orjson.dumps({"reason": reason}), **headers)
            return

        def accept() -> None:
            self._accept(to, orjson.loads(request.body), at)
            if self.orders.get("lose_answer"):
                peer.transport.abort()
            else:
                peer.respond(stream, apns_id=request.headers["apns-id"])

        asyncio.get_running_loop().call_later(self.orders.get("latency_ms", 0) / 1000, accept)


class WebPushServer(PushServer):
    """Refuses what `PushService` refuses; reads messages as the browser does."""

    name = "web_push"

    def __init__(self, certificate: Path, record: Path) -> None:
        super().__init__(certificate, record)
        self._browser = Browser()
        self._service = PushService(generate_private_key(SECP256R1()), certificate, on_message=self._message)

    def contact(self, number: int) -> str:
        return self._browser.subscription(self._service.endpoint(str(number)))

    def credentials(self) -> dict[str, Any]:
        given = self._service.config()
        names = ("web_push_key", "web_push_subject", "web_push_private_hosts")
        return {name: getattr(given, name) for name in names}

    def _serve(self) -> AbstractAsyncContextManager[Http2Server | ScriptedServer]:
        return serve(self._service.respond, self.certificate, port=self.port)

    async def start(self) -> None:
        await super().start()
        self._service.server.port = self.port

    async def _message(self, peer: scripted_server.Peer, message: Message) -> None:
        if self.orders.get("hang"):
            await peer.end()
            return
        at = time.time()
        to = self.contact(int(message.path.rpartition("/")[2]))
        if (refusal := self._refusal(to)) is not None:
            status, retry_after_s = refusal
            delay = "" if retry_after_s is None else f"Retry-After: {retry_after_s}\r\n"
            await peer.send(f"HTTP/1.1 {status} Refused\r\n{delay}Content-Length: 0\r\n\r\n".encode())
            return
        await asyncio.sleep(self.orders.get("latency_ms", 0) / 1000)
        self._accept(to, self._browser.decrypt(message.body)["data"], at)
        if self.orders.get("lose_answer"):
            peer.abort()
        else:
            await peer.send(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")


PUSH_SERVERS: Mapping[str, Callable[[Path, Path], PushServer]] = {"apns": ApnsServer, "web_push": WebPushServer}
