"""Mails leave in plaintext only if the settings say so."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, Envelope, Session

from notify_streams.delivery.providers import Outgoing, ProviderConfig, ProviderOutcome, provider_for
from notify_streams.secret import Secret

HOST = "0.0.0.0"  # the kernel connects to this machine, but it is no loopback address


@dataclass
class Mails:
    """A handler of aiosmtpd: whether each mail came over TLS."""

    encrypted: list[bool] = field(default_factory=list)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        self.encrypted.append(
            server.transport is not None and server.transport.get_extra_info("sslcontext") is not None
        )
        return "250 2.0.0 OK"


@pytest.fixture(scope="module")
async def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PEM file: a certificate for `HOST` that signs itself, and its key."""
    pem = tmp_path_factory.mktemp("tls") / "server.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={HOST}", "-days", "2"]
    made = await asyncio.create_subprocess_exec(
        *command, "-addext", f"subjectAltName=IP:{HOST}", "-keyout", str(pem), "-out", str(pem.with_suffix(".crt"))
    )
    assert await made.wait() == 0
    pem.write_text(pem.read_text() + pem.with_suffix(".crt").read_text())
    return pem


@pytest.fixture
async def serve(certificate: Path) -> AsyncIterator[Callable[..., Any]]:
    """Starts a mail server that offers STARTTLS, strips it, or speaks TLS from the first byte; returns its mails and port."""
    servers = []

    async def start(mode: str) -> tuple[Mails, int]:
        loop, mails = asyncio.get_running_loop(), Mails()
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)
        offers = context if mode == "starttls" else None
        server = await loop.create_server(
            lambda: SMTP(mails, hostname=HOST, tls_context=offers, loop=loop),
            "127.0.0.1",
            0,
            ssl=context if mode == "implicit" else None,
        )
        servers.append(server)
        return mails, server.sockets[0].getsockname()[1]

    yield start
    for server in servers:
        server.close()


async def send(config: ProviderConfig) -> ProviderOutcome:
    provider = provider_for("email", config)
    await provider.start()
    mail = Outgoing(delivery_id="d", notification_id="n", channel="email", to="a@example.org", body="hi")
    result = await provider.send(mail)
    await provider.close()
    return result.outcome


def config_of(url: str, **but: Any) -> ProviderConfig:
    return ProviderConfig(**{"fcm": "http://f", "twilio": "http://t", "smtp": url, "start_within_s": 5.0, **but})


CASES = [
    pytest.param("stripped", f"smtp://{HOST}", {}, [], id="stripped"),
    pytest.param("stripped", f"smtp://{HOST}", {"smtp_tls": "starttls"}, [False], id="stripped, and allowed"),
    pytest.param("starttls", f"smtp://{HOST}", {}, [True], id="offered"),
    pytest.param("starttls", f"smtp://{HOST}", {"smtp_tls": "starttls"}, [True], id="offered, and not required"),
    pytest.param("starttls", f"smtp://{HOST}", {"smtp_tls": "none"}, [False], id="turned off"),
    pytest.param("starttls", f"smtp://{HOST}", {"smtp_ca_file": None}, [], id="an unknown authority"),
    pytest.param("starttls", "smtp://127.0.0.1", {"smtp_tls": "require"}, [], id="another host's certificate"),
    pytest.param("stripped", "smtp://127.0.0.1", {}, [False], id="loopback"),
    pytest.param("implicit", f"smtps://{HOST}", {}, [True], id="implicit"),
    pytest.param("implicit", f"smtps://{HOST}", {"smtp_ca_file": None}, [], id="implicit, an unknown authority"),
    pytest.param("implicit", "smtps://127.0.0.1", {}, [], id="implicit, another host's certificate"),
]


@pytest.mark.parametrize(("mode", "url", "but", "encrypted"), CASES)
async def test_a_mail_is_encrypted_or_not_sent(
    serve: Any, certificate: Path, mode: str, url: str, but: dict[str, Any], encrypted: list[bool]
) -> None:
    mails, port = await serve(mode)
    outcome = await send(config_of(f"{url}:{port}", **{"smtp_ca_file": str(certificate), **but}))
    assert outcome is (ProviderOutcome.ACCEPTED if encrypted else ProviderOutcome.RETRY)
    assert mails.encrypted == encrypted


@pytest.mark.parametrize("tls", ["starttls", "none", None])
def test_a_password_is_never_sent_in_plaintext(tls: Any) -> None:
    config = config_of("smtp://127.0.0.1", smtp_tls=tls, smtp_username=Secret("u"), smtp_password=Secret("p"))
    with pytest.raises(ValueError, match="needs encryption"):
        provider_for("email", config)
