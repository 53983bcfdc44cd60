"""A mail server that requires TLS and a login gets mails without defects, signed with DKIM.

Their signatures are verified by dkimpy."""

from __future__ import annotations

import asyncio
import re
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_string
from email.errors import NonASCIILocalPartDefect
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any

import dkim
import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from notify_streams.delivery.providers import Provider, ProviderConfig, ProviderOutcome, provider_for
from notify_streams.secret import Secret

KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
DKIM_KEY = Secret(b64encode(b"k" * 32).decode())


def dns(name: bytes, timeout: int = 5) -> bytes:
    assert name == b"s1._domainkey.xn--bcher-kva.example."
    return b"v=DKIM1; k=ed25519; p=" + b64encode(KEY.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))


@dataclass
class Mails:
    """A handler of aiosmtpd that offers pipelining."""

    envelopes: list[Envelope] = field(default_factory=list)
    users: list[Any] = field(default_factory=list)

    async def handle_EHLO(
        self, server: SMTP, session: Session, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = hostname
        return [*responses[:-1], "250-PIPELINING", responses[-1]]

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        self.envelopes.append(envelope)
        self.users.append(session.auth_data)
        return "250 2.0.0 OK"


def log_in(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
    assert isinstance(data, LoginPassword)
    return AuthResult(success=data == LoginPassword(b"notify", b"hush"), auth_data=data, handled=False)


@asynccontextmanager
async def serve(certificate: Path, **but: Any) -> AsyncIterator[tuple[Provider, Mails]]:
    """A server on a free port, and a client of it."""
    loop, mails = asyncio.get_running_loop(), Mails()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)

    def connect() -> SMTP:
        return SMTP(
            mails,
            hostname="localhost",
            tls_context=context,
            require_starttls=True,
            auth_required=True,
            authenticator=log_in,
            enable_SMTPUTF8=True,
            loop=loop,
        )

    server = await loop.create_server(connect, "127.0.0.1", 0)
    config = ProviderConfig(
        **{
            "fcm": "http://f",
            "twilio": "http://t",
            "smtp": f"smtp://127.0.0.1:{server.sockets[0].getsockname()[1]}",
            "smtp_tls": "require",
            "smtp_ca_file": str(certificate),
            "smtp_username": Secret("notify"),
            "smtp_password": Secret("hush"),
            "start_within_s": 5.0,
            "mail_sender": "notify@bücher.example",
            "dkim_domain": "bücher.example",
            "dkim_selector": "s1",
            "dkim_key": DKIM_KEY,
            **but,
        }
    )
    provider = provider_for("email", config)
    await provider.start()
    try:
        yield provider, mails
    finally:
        await provider.close()
        server.close()


def parsed(content: bytes) -> EmailMessage:
    mail = message_from_string(content.decode(), policy=default)
    assert isinstance(mail, EmailMessage)
    return mail


MAILS: dict[str, tuple[str | None, str]] = {
    "plain": ("Payment received", "12.50 EUR have arrived.\n"),
    "other scripts": ("تم استلام دفعة 💶", "وصل ‏12.50 يورو.\nüber"),
    "a long subject": ("Zahlung über 12,50 € " * 12, "text"),
    "dots and blanks": ("a  b", ".\n..\n  x  \n\n\n"),
    "a subject that would add headers": ("Hi\r\nBcc: x@example.org\r\n\r\nbody", "text"),
    "no subject": (None, "Your code is 1234"),
}


@pytest.mark.parametrize(("title", "body"), MAILS.values(), ids=MAILS)
async def test_a_mail_has_no_defect_and_its_signature_verifies(
    host_certificate: Path, outbox_of: Any, title: str | None, body: str
) -> None:
    message = outbox_of("email").message(to="fatma@عربي.example", title=title, body=body, critical=True)
    async with serve(host_certificate) as (provider, mails):
        result = await provider.send(message)
    assert result.outcome is ProviderOutcome.ACCEPTED
    assert mails.users == [LoginPassword(b"notify", b"hush")]
    (envelope,) = mails.envelopes
    content = envelope.original_content
    assert content is not None
    mail = parsed(content)
    assert mail.defects == []
    assert [value.defects for value in mail.values()] == [()] * len(mail)
    assert "Bcc" not in mail
    assert mail["Subject"] == re.sub(r"[\r\n]+", " ", body[:78] if title is None else title)
    assert mail.get_content().replace("\r\n", "\n").rstrip("\n") == body.rstrip("\n")
    assert (envelope.mail_from, envelope.rcpt_tos) == (
        "notify@xn--bcher-kva.example",
        ["fatma@xn--ngbrx4e.example"],
    )
    assert (mail["From"], mail["To"]) == (envelope.mail_from, envelope.rcpt_tos[0])
    assert mail["Message-ID"] == result.provider_id
    assert re.fullmatch(r"<[0-9a-f]{32}@xn--bcher-kva\.example>", str(mail["Message-ID"]))
    assert dkim.verify(content, dnsfunc=dns)


async def test_a_mail_to_an_international_mailbox_verifies(host_certificate: Path, outbox_of: Any) -> None:
    async with serve(host_certificate) as (provider, mails):
        result = await provider.send(outbox_of("email").message(to="müller@example.org"))
    assert result.outcome is ProviderOutcome.ACCEPTED
    (envelope,) = mails.envelopes
    assert envelope.smtp_utf8
    assert envelope.original_content is not None
    mail = parsed(envelope.original_content)
    # That it is not ASCII is all that the parser, which follows RFC 5322 alone, finds.
    assert [type(defect) for value in mail.values() for defect in value.defects] == [NonASCIILocalPartDefect]
    assert mail["To"].addresses[0].addr_spec == "müller@example.org"
    assert dkim.verify(envelope.original_content, dnsfunc=dns)


async def test_a_mail_with_html_has_both_parts_and_verifies(host_certificate: Path, outbox_of: Any) -> None:
    message = outbox_of("email").message(title="Zahlung", body="über 12 €", html='<p dir="rtl">وصل 12 €</p>')
    async with serve(host_certificate) as (provider, mails):
        result = await provider.send(message)
    assert result.outcome is ProviderOutcome.ACCEPTED
    (envelope,) = mails.envelopes
    assert envelope.original_content is not None
    mail = parsed(envelope.original_content)
    assert [
        defect for part in mail.walk() for defect in (*part.defects, *(v.defects for v in part.values())) if defect
    ] == []
    found = [mail.get_body((kind,)) for kind in ("plain", "html")]
    assert [part.get_content().strip() for part in found if part is not None] == [message.body, message.html]
    assert dkim.verify(envelope.original_content, dnsfunc=dns)


async def test_signed_mails_follow_one_another_over_one_connection(host_certificate: Path, outbox_of: Any) -> None:
    outbox = outbox_of("email")
    async with serve(host_certificate, smtp_connections=1) as (provider, mails):
        results = await asyncio.gather(*(provider.send(outbox.message(body=f".\n{n}\n")) for n in range(20)))
    assert {result.outcome for result in results} == {ProviderOutcome.ACCEPTED}
    contents = [envelope.original_content for envelope in mails.envelopes]
    assert len(contents) == 20
    assert all(content is not None and dkim.verify(content, dnsfunc=dns) for content in contents)


async def test_a_wrong_password_fails_no_mail_for_good(host_certificate: Path, outbox_of: Any) -> None:
    async with serve(host_certificate, smtp_password=Secret("wrong")) as (provider, mails):
        result = await provider.send(outbox_of("email").message())
    assert (result.outcome, result.code, result.maybe_accepted) == (ProviderOutcome.RETRY, "535 5.7.8", False)
    assert mails.envelopes == []


async def test_a_new_key_signs_without_a_restart(host_certificate: Path, outbox_of: Any, tmp_path: Path) -> None:
    file, outbox = tmp_path / "key", outbox_of("email")
    file.write_text(b64encode(b"o" * 32).decode())
    async with serve(host_certificate, dkim_key=Secret.read(file), credential_check_s=0.01) as (provider, mails):
        await provider.send(outbox.message())
        file.write_text("no key")
        await provider.send(outbox.message())
        file.write_text(DKIM_KEY.reveal())
        async with asyncio.timeout(5):
            while not dkim.verify(mails.envelopes[-1].original_content, dnsfunc=dns):
                await provider.send(outbox.message())
    assert not dkim.verify(mails.envelopes[0].original_content, dnsfunc=dns)
    assert all(b"DKIM-Signature" in (envelope.original_content or b"") for envelope in mails.envelopes)


async def test_without_the_settings_of_dkim_a_mail_is_not_signed(host_certificate: Path, outbox_of: Any) -> None:
    async with serve(host_certificate, dkim_key=None) as (provider, mails):
        await provider.send(outbox_of("email").message())
    (envelope,) = mails.envelopes
    assert envelope.original_content is not None and b"DKIM-Signature" not in envelope.original_content
