"""The sandbox's SMTP server: one recipient a mail; mails are logged, not stored."""

from __future__ import annotations

import asyncio
import time
from email.header import decode_header, make_header
from email.parser import BytesHeaderParser

from aiosmtpd.smtp import SMTP, Envelope, Session

from devtools.sandbox.fault_injection import Action
from devtools.sandbox.intake import MessageIntake
from devtools.sandbox.messages import IncomingMessage

_METADATA_PREFIX = "x-notify-"
_headers = BytesHeaderParser()


def mail_protocol(intake: MessageIntake) -> asyncio.Protocol:
    """The protocol factory for `loop.create_server`; one protocol a connection."""
    server: asyncio.Protocol = SMTP(
        SandboxSmtpHandler(intake), hostname="sandbox.invalid", enable_SMTPUTF8=True, loop=asyncio.get_running_loop()
    )
    return server


class SandboxSmtpHandler:
    """The hooks that aiosmtpd calls; one handler a connection."""

    def __init__(self, intake: MessageIntake) -> None:
        self._intake = intake
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
        if self._intake.refuses_contact("smtp", address):
            return f"550 5.1.1 <{address}>: no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        content = envelope.content
        mail = _headers.parsebytes(content if isinstance(content, bytes) else b"")
        metadata = {
            name.lower().removeprefix(_METADATA_PREFIX).replace("-", "_"): _decoded(str(text))
            for name, text in mail.items()
            if name.lower().startswith(_METADATA_PREFIX)
        }
        to = envelope.rcpt_tos[0]
        try:
            action = await self._intake.process(IncomingMessage(self._at, "smtp", "email", to, metadata))
        except OSError:
            return "451 4.3.0 The provider log cannot be written"
        if action is Action.ACCEPT:
            return "250 2.0.0 OK"
        if action is Action.DEAD:  # The faults have changed since RCPT.
            return "550 5.1.1 No such mailbox"
        if action is Action.FAIL:
            failure = self._intake.failure("smtp")
            return f"{failure.status} {failure.status // 100}.0.0 Refused by the sandbox"
        if isinstance(server.transport, asyncio.WriteTransport):
            server.transport.abort()
        return "421 4.3.2 Closing"


def _decoded(text: str) -> str:
    return str(make_header(decode_header(text))) if "=?" in text else text
