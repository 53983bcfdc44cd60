"""The sandbox's SMTP server: one recipient a mail; mails are logged.

It refuses what RFC 5321, 5322, 6152 and 6531 allow a server to refuse, with the reply codes of Postfix.
"""

from __future__ import annotations

import asyncio
import re
import time
from email.header import decode_header, make_header
from email.message import Message
from email.parser import BytesHeaderParser
from typing import cast

from aiosmtpd.smtp import SMTP, Envelope, Session

from devtools.sandbox.fault_injection import Action
from devtools.sandbox.intake import MessageIntake
from devtools.sandbox.messages import IncomingMessage

_METADATA_PREFIX = "x-notify-"
#: Postfix's default of `message_size_limit`.
_LARGEST_MAIL = 10_240_000
#: RFC 5321 §4.5.3.1: octets of a local part, of an address, of a line without its end.
_LONGEST_LOCAL_PART, _LONGEST_ADDRESS, _LONGEST_LINE = 64, 254, 998
_LOCAL_PART = re.compile(r"[^\s\x00-\x20\x7f()<>\[\]:;@\\,.\"]+(\.[^\s\x00-\x20\x7f()<>\[\]:;@\\,.\"]+)*")
_DOMAIN = re.compile(
    r"(?!-)[A-Za-z0-9\u00a1-\U0010ffff-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9\u00a1-\U0010ffff-]{1,63}(?<!-))*"
)
_BARE_LINE_END = re.compile(rb"\r(?!\n)|(?<!\r)\n")
_MESSAGE_ID = re.compile(r"<[^\s<>@]+@[^\s<>@]+>")
_headers = BytesHeaderParser()


def mail_protocol(intake: MessageIntake) -> asyncio.Protocol:
    """The protocol factory for `loop.create_server`; one protocol a connection."""
    server: asyncio.Protocol = SMTP(
        SandboxSmtpHandler(intake),
        hostname="sandbox.invalid",
        data_size_limit=_LARGEST_MAIL,
        enable_SMTPUTF8=True,
        loop=asyncio.get_running_loop(),
    )
    return server


class SandboxSmtpHandler:
    """The hooks that aiosmtpd calls; one handler a connection."""

    def __init__(self, intake: MessageIntake) -> None:
        self._intake = intake
        self._at = 0.0

    async def handle_EHLO(
        self, server: SMTP, session: Session, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = hostname
        # aiosmtpd reads commands from a stream, so it takes several at once, but does not say so.
        return [*responses[:-1], "250-PIPELINING", "250-ENHANCEDSTATUSCODES", responses[-1]]

    async def handle_MAIL(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        self._at = time.time()
        if address in ("", "<>"):
            return "501 5.1.7 The null sender is for reports of delivery"
        if problem := _address_problem(address, envelope):
            return problem
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 2.1.0 OK"

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if envelope.rcpt_tos:
            return "452 4.5.3 One recipient a mail"
        if problem := _address_problem(address, envelope):
            return problem
        if self._intake.refuses_contact("smtp", address):
            return f"550 5.1.1 <{address}>: no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        content = envelope.content if isinstance(envelope.content, bytes) else b""
        mail = _headers.parsebytes(content)
        if problem := _content_problem(content, mail, envelope):
            return problem
        metadata = {
            name.lower().removeprefix("x-").replace("-", "_"): _decoded(str(text))
            for name, text in mail.items()
            if name.lower().startswith(_METADATA_PREFIX)
        }
        to = envelope.rcpt_tos[0]
        try:
            action = await self._intake.process(IncomingMessage(self._at, "smtp", "email", to, metadata, content))
        except OSError:
            return "451 4.3.0 The provider log cannot be written"
        if action is Action.ACCEPT:
            return "250 2.0.0 OK"
        if action is Action.DEAD:  # The faults have changed since RCPT.
            return "550 5.1.1 No such mailbox"
        if action is Action.FAIL:
            failure = self._intake.failure("smtp")
            return f"{failure.status} {failure.status // 100}.0.0 Refused by the sandbox"
        if server.transport is not None:
            cast("asyncio.Transport", server.transport).abort()  # uvloop's transports are none of asyncio's classes
        return "421 4.3.2 Closing"


def _address_problem(address: str, envelope: Envelope) -> str | None:
    local_part, _, domain = address.rpartition("@")
    octets = len(address.encode(errors="surrogateescape"))
    if not address.isascii() and not envelope.smtp_utf8:
        return "553 5.6.7 A non-ASCII address needs SMTPUTF8"
    if octets > _LONGEST_ADDRESS or len(local_part.encode(errors="surrogateescape")) > _LONGEST_LOCAL_PART:
        return "501 5.1.3 Path too long"
    if not (_LOCAL_PART.fullmatch(local_part) and _DOMAIN.fullmatch(domain)):
        return "501 5.1.3 Bad address syntax"
    return None


def _content_problem(content: bytes, mail: Message, envelope: Envelope) -> str | None:
    head, _, _ = content.partition(b"\r\n\r\n")
    if _BARE_LINE_END.search(content):
        return "550 5.5.2 Bare <CR> or <LF> received"
    if any(len(line) > _LONGEST_LINE for line in content.split(b"\r\n")):
        return "500 5.5.2 Line too long"
    if not head.isascii() and not envelope.smtp_utf8:
        return "550 5.6.7 Non-ASCII headers need SMTPUTF8"
    if not content.isascii() and "BODY=8BITMIME" not in envelope.mail_options:
        return "554 5.6.1 8-bit content needs BODY=8BITMIME"
    if any(len(mail.get_all(name, [])) != 1 for name in ("From", "Date")):
        return "550 5.6.0 Exactly one From and one Date are required"
    if len(ids := mail.get_all("Message-ID", [])) != 1 or not _MESSAGE_ID.fullmatch(str(ids[0]).strip()):
        return "550 5.7.1 Messages missing a valid Message-ID header are not accepted"
    return None


def _decoded(text: str) -> str:
    return str(make_header(decode_header(text))) if "=?" in text else text
