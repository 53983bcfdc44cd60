"""The sandbox's mail server: real SMTP; every mail is accepted for one recipient, recorded and thrown away."""

from __future__ import annotations

import asyncio
import time
from email.header import decode_header, make_header
from email.parser import BytesHeaderParser

from aiosmtpd.smtp import SMTP, Envelope, Session

from devtools.sandbox.fault_injection import InjectedFault
from devtools.sandbox.intake import Incoming, MessageIntake

_MARK = "x-notify-"
_headers = BytesHeaderParser()


def mail_protocol(desk: MessageIntake) -> asyncio.Protocol:
    """One connection's protocol: the factory for `loop.create_server`. Needs the running loop."""
    server: asyncio.Protocol = SMTP(
        SandboxSmtpHandler(desk), hostname="sandbox.invalid", enable_SMTPUTF8=True, loop=asyncio.get_running_loop()
    )
    return server


class SandboxSmtpHandler:
    """The hooks that aiosmtpd calls; one a connection."""

    def __init__(self, desk: MessageIntake) -> None:
        self._desk = desk
        self._at = 0.0

    async def handle_MAIL(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        self._at = time.time()
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 2.1.0 OK"

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if envelope.rcpt_tos:
            return "452 4.5.3 One recipient a mail"
        if self._desk.is_dead("smtp", address):
            return f"550 5.1.1 <{address}>: no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        content = envelope.content
        mail = _headers.parsebytes(content if isinstance(content, bytes) else b"")
        marks = {
            name.lower().removeprefix(_MARK).replace("-", "_"): _decoded(str(text))
            for name, text in mail.items()
            if name.lower().startswith(_MARK)
        }
        to = envelope.rcpt_tos[0]
        try:
            fate = await self._desk.take(Incoming(self._at, "smtp", "email", to, marks))
        except OSError:
            return "451 4.3.0 The record cannot be written"
        if fate is InjectedFault.ACCEPT:
            return "250 2.0.0 OK"
        if fate is InjectedFault.DEAD:  # since the recipient was taken
            return "550 5.1.1 No such mailbox"
        if fate is InjectedFault.FAIL:
            failure = self._desk.failure("smtp")
            return f"{failure.status} {failure.status // 100}.0.0 Refused by the sandbox"
        if isinstance(server.transport, asyncio.WriteTransport):
            server.transport.abort()
        return "421 4.3.2 Closing"


def _decoded(text: str) -> str:
    return str(make_header(decode_header(text))) if "=?" in text else text
