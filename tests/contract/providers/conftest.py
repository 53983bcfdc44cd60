"""The real sandbox as a process of its own, on free ports, with a record of its own."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from devtools.sandbox.keys import client_settings, open_keys
from devtools.sandbox.web_push import Browser, endpoint
from notify_streams.admin.audit.provider_log import AcceptedMessage, read_provider_log
from notify_streams.delivery.providers import Outgoing, Provider, ProviderConfig, provider_for
from notify_streams.secret import Secret
from tests.host_certificate import write_host_certificate
from tests.strict_providers import StrictProviders, new_key, strict_providers


class SandboxProcess:
    """A running sandbox; `ports` may be given to come back where it was."""

    def __init__(self, record: Path) -> None:
        self.record = record
        self.keys = record.with_name("keys")
        self.ports = {"http": 0, "smtp": 0, "apns": 0, "web_push": 0}
        self._process: asyncio.subprocess.Process | None = None
        self._browser: Browser | None = None

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "devtools.sandbox", "--record", str(self.record)),
            *(word for name, port in self.ports.items() for word in (f"--{name.replace('_', '-')}-port", str(port))),
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        )
        assert self._process.stdout is not None
        async with asyncio.timeout(30):
            line = await self._process.stdout.readline()
        assert line, "the sandbox did not start"
        self.ports = orjson.loads(line)["ports"]
        self._browser = Browser(open_keys(self.keys).browser)

    async def kill(self) -> None:
        """SIGKILL: nothing is tidied up."""
        assert self._process is not None
        self._process.kill()
        await self._process.wait()

    async def stop(self) -> int:
        """SIGTERM; gives the exit status."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.terminate()
        return await self._process.wait()

    async def control(self, **orders: Any) -> None:
        async with aiohttp.request("POST", f"{self.url}/control", data=orjson.dumps(orders)) as answer:
            assert answer.status == 200, await answer.text()

    async def behave(self) -> None:
        async with aiohttp.request("DELETE", f"{self.url}/control") as answer:
            assert answer.status == 200

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports['http']}"

    def config(self, **but: Any) -> ProviderConfig:
        given = client_settings(self.keys, self.ports["apns"])
        given["apns_key_id"] = Secret(given["apns_key_id"])
        keys = {name: Secret.read(Path(given.pop(f"{name}_file"))) for name in ("apns_key", "web_push_key")}
        smtp = f"smtp://127.0.0.1:{self.ports['smtp']}"
        urls = {"fcm": self.url, "twilio": self.url, "smtp": smtp}
        # Connections and handshakes of TLS take their time beside other tests.
        return ProviderConfig(**{**urls, "start_within_s": 5.0, **given, **keys, **but})

    def client(self, provider: str, **but: Any) -> Provider:
        """A client of one provider."""
        tls = {"max_in_flight": 32} if provider in ("apns", "web_push") else {}
        channel = CHANNEL_OF[provider]
        return provider_for(channel, self.config(**{f"{channel}_provider": provider, **tls, **but}))

    def contact(self, provider: str, number: int) -> str:
        """One that `provider` takes."""
        if provider == "web_push":
            assert self._browser is not None
            return self._browser.subscription(endpoint(self.ports["web_push"], str(number)))
        return f"{number:064x}" if provider == "apns" else _CONTACTS[CHANNEL_OF[provider]].format(number)

    def accepted(self, delivery_id: str) -> list[AcceptedMessage]:
        return [line for line in read_provider_log(self.record) if line.delivery_id == delivery_id]

    def all_accepted(self) -> list[str]:
        return [line.delivery_id for line in read_provider_log(self.record)]


@pytest.fixture(scope="session")
async def one_sandbox(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[SandboxProcess]:
    process = SandboxProcess(tmp_path_factory.mktemp("sandbox") / "accepted.jsonl")
    await process.start()
    yield process
    assert await process.stop() == 0


@pytest.fixture
async def sandbox(one_sandbox: SandboxProcess) -> SandboxProcess:
    """The shared sandbox, well behaved."""
    await one_sandbox.behave()
    return one_sandbox


@pytest.fixture
async def own_sandbox(tmp_path: Path) -> AsyncIterator[SandboxProcess]:
    """One that a test may kill."""
    process = SandboxProcess(tmp_path / "accepted.jsonl")
    await process.start()
    yield process
    await process.stop()


CHANNEL_OF = {"fcm": "push", "apns": "push", "web_push": "push", "twilio": "sms", "smtp": "email"}
_CONTACTS = {"push": "device-token-{}", "sms": "+1202555{:04}", "email": "person-{}@example.org"}


class Outbox:
    """Builds messages of one channel, each a new delivery."""

    def __init__(self, channel: str, contact: Callable[[int], str] | None = None) -> None:
        """`contact` gives the one with a number; None: one for the channel's default provider in the sandbox."""
        self.channel = channel
        self._contact = contact or _CONTACTS[channel].format
        self._name = uuid4().hex[:12]
        self._next = 0

    def message(self, **but: Any) -> Outgoing:
        self._next += 1
        # Unique over the tests of a session, which share a record.
        name = f"{self.channel}-{self._name}-{self._next}"
        return Outgoing(
            **{
                "delivery_id": name,
                "notification_id": f"of-{name}",
                "channel": self.channel,
                "to": self._contact(self._next),
                "title": "Payment received",
                "body": "12.50 EUR have arrived.",
                **but,
            }
        )


@pytest.fixture
def outbox_of() -> type[Outbox]:
    return Outbox


@pytest.fixture(scope="session")
def host_certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PEM file: a certificate for 127.0.0.1 and localhost that signs itself, and its key."""
    return write_host_certificate(tmp_path_factory.mktemp("http-tls"))


@pytest.fixture(scope="module")
def keys() -> tuple[rsa.RSAPrivateKey, rsa.RSAPrivateKey]:
    """That of the service account, and another one."""
    return new_key(), new_key()


@pytest.fixture
async def providers(keys: Any, host_certificate: Path) -> AsyncIterator[StrictProviders]:
    """Servers that check the credentials which they get."""
    async with strict_providers(keys[0], host_certificate) as running:
        yield running
