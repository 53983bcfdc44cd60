"""pushy's APNs server (Maven `com.eatthepath:pushy`) as a process."""

from __future__ import annotations

import asyncio
from base64 import b64decode
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from devtools.sandbox.keys import pem
from devtools.stack.java_classes import compiled
from devtools.stack.maven import jars, java
from devtools.stack.ports import free_port
from notify_streams.delivery.providers import Outgoing, ProviderConfig
from notify_streams.secret import Secret

TEAM, KEY_ID, TOPIC = "TEAMTEAM01", "KEYKEYKE01", "example.app"
DEVICE, REMOVED = "ab" * 32, "cd" * 32
_PRIVATE = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
_JVM = ["-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-Dio.netty.noUnsafe=true"]


@dataclass(frozen=True)
class Notification:
    """What the server received, and its answer."""

    #: "accepted", or the reason of its rejection
    result: str
    headers: dict[str, str]
    payload: dict[str, Any]


@dataclass
class Pushy:
    """The server. `reasons` are those that it knows, each with its status."""

    certificate: Path
    streams: int = 1500
    port: int = 0
    received: list[Notification] = field(default_factory=list)
    reasons: dict[str, int] = field(default_factory=dict)
    key: str = field(default_factory=lambda: pem(generate_private_key(SECP256R1())))

    async def start(self, folder: Path) -> None:
        """Compile, start, and wait until it listens."""
        libraries = await asyncio.to_thread(jars, "pushy")
        classes = await asyncio.to_thread(compiled, Path(__file__).with_name("PushyServer.java"), libraries)
        self.port = free_port()
        server_key, verification_key = folder / "server.p8", folder / "verification.pem"
        server_key.write_bytes(load_pem_private_key(self.certificate.read_bytes(), None).private_bytes(*_PRIVATE))
        public = load_pem_private_key(self.key.encode(), None).public_key()
        verification_key.write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        certificate = self.certificate.with_suffix(".crt")
        self._process = await asyncio.create_subprocess_exec(
            *(java(), *_JVM, "-cp", f"{libraries}/*:{classes}", "com.eatthepath.pushy.apns.server.PushyServer"),
            *(str(self.port), str(certificate), str(server_key), str(verification_key)),
            *(TEAM, KEY_ID, TOPIC, DEVICE, REMOVED, str(self.streams)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(30):
            while (line := await self._line()) != "ready":
                reason, status = line.split()
                self.reasons[reason] = int(status)
        self._commands: asyncio.Queue[str] = asyncio.Queue()
        self._reading = asyncio.create_task(self._read())

    async def stop(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._reading.cancel()
        async with asyncio.timeout(10):
            await self._process.wait()

    async def command(self, command: str) -> None:
        """`stop` or `start` listening."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command}\n".encode())
        async with asyncio.timeout(10):
            assert await self._commands.get() == command

    def config(self, **but: Any) -> ProviderConfig:
        given = {
            "apns": f"https://127.0.0.1:{self.port}",
            "ca_file": str(self.certificate),
            "apns_team_id": TEAM,
            "apns_key_id": Secret(KEY_ID),
            "apns_key": Secret(self.key),
            "apns_topic": TOPIC,
            "push_provider": "apns",
            "start_within_s": 5.0,
            **but,
        }
        return ProviderConfig(fcm="", twilio="", smtp="", **given)

    def rejected_token(self, reason: str) -> str:
        """A device token that is rejected for `reason`, one of `reasons`."""
        return f"{'e' * 62}{list(self.reasons).index(reason):02}"

    async def _read(self) -> None:
        while line := await self._line():
            if line in ("stop", "start"):
                self._commands.put_nowait(line)
                continue
            result, headers, payload = line.split(" ")
            pairs = (pair.partition(": ")[::2] for pair in b64decode(headers).decode().splitlines())
            self.received.append(Notification(result, dict(pairs), orjson.loads(b64decode(payload))))

    async def _line(self) -> str:
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        assert line, "the server ended"
        return line.decode().rstrip("\n")


def push(**but: Any) -> Outgoing:
    """A message to `DEVICE`."""
    given = {"delivery_id": "d.push", "notification_id": "n", "channel": "push", "to": DEVICE, "body": "hi"}
    return Outgoing(**given | but)
