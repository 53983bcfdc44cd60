"""A mail server that demands STARTTLS and a log-in."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session


class Mails:
    """A handler of aiosmtpd: the senders of the mails, and the number of NOOP commands."""

    def __init__(self) -> None:
        self.senders: list[str | None] = []
        self.noops = 0

    async def handle_NOOP(self, server: SMTP, session: Session, envelope: Envelope, arg: str) -> str:
        self.noops += 1
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        self.senders.append(envelope.mail_from)
        return "250 2.0.0 OK"


@asynccontextmanager
async def mail_server(certificate: Path, password: str) -> AsyncIterator[tuple[Mails, str]]:
    """For the user `mailer`; returns what it took, and its URL."""
    mails, loop = Mails(), asyncio.get_running_loop()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)

    def authenticate(server: SMTP, session: Session, envelope: Envelope, mechanism: str, given: Any) -> AuthResult:
        right = isinstance(given, LoginPassword) and (given.login, given.password) == (b"mailer", password.encode())
        return AuthResult(success=right, handled=right)

    server = await loop.create_server(
        lambda: SMTP(
            mails,
            hostname="localhost",
            tls_context=context,
            require_starttls=True,
            auth_required=True,
            authenticator=authenticate,
            loop=loop,
        ),
        "127.0.0.1",
        0,
    )
    try:
        yield mails, f"smtp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
