"""Email by SMTP over a few persistent connections. A 4xx reply is RETRY, a 5xx reply about the message is REJECTED."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

import aiosmtplib

from notify_streams.delivery.providers.config import ProviderConfig
from notify_streams.delivery.providers.mime import is_address, message_id, mime_message
from notify_streams.delivery.providers.provider import Outgoing, ProviderOutcome, ProviderResult
from notify_streams.delivery.providers.smtp_pool import SmtpPool

#: our login or our encryption is at fault and not the message, which must not be thrown away for it (RFC 4954 §6)
_RETRIED = frozenset({530, 534, 535, 538})


class Smtp:
    """See `Provider`. `provider_id` is the mail's Message-ID, which is a function of the delivery."""

    name = "smtp"

    def __init__(self, config: ProviderConfig) -> None:
        if not is_address(config.mail_from):
            raise ValueError("mail_from must be one plain mail address")
        self.max_in_flight = config.smtp_connections
        self._sender = config.mail_from
        self._timeout_s = config.timeout_s
        self._start_within_s = config.start_within_s
        self._connections = SmtpPool(config)

    async def start(self) -> None:
        """Nothing to do: the first mail makes the first connection."""

    async def close(self) -> None:
        self._connections.close()

    async def send(self, message: Outgoing) -> ProviderResult:
        if not is_address(message.to):
            return ProviderResult(
                outcome=ProviderOutcome.REJECTED, provider=self.name, detail="not one mail address", code="address"
            )
        call = _Call(self._sender, message, mime_message(message, self._sender, time.time()))
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._attempt(call)
        except (aiosmtplib.SMTPException, OSError) as trouble:
            return smtp_result(trouble, call.content_begun, begun=call.begun)

    async def _attempt(self, call: _Call) -> ProviderResult:
        async with asyncio.timeout(self._start_within_s):
            connection, used_before = await self._connections.borrow()
        try:
            return await call.over(connection)
        except aiosmtplib.SMTPServerDisconnected:
            # The server hung up an idle connection. As long as no content was sent, a new one may be tried.
            if call.content_begun or not used_before:
                raise
        finally:
            self._connections.give_back(connection)
        async with asyncio.timeout(self._start_within_s):
            connection, _ = await self._connections.borrow(fresh=True)
        try:
            return await call.over(connection)
        finally:
            self._connections.give_back(connection)


class _Call:
    """One mail's dialogue, however it ends.

    `begun`: the server was spoken to about this mail. `content_begun`: it may have taken the mail.
    """

    def __init__(self, sender: str, message: Outgoing, mail: bytes) -> None:
        self.begun = False
        self.content_begun = False
        self._sender = sender
        self._message = message
        self._mail = mail

    async def over(self, connection: aiosmtplib.SMTP) -> ProviderResult:
        """Leaves the connection ready for the next mail, or closed."""
        finished, self.begun = False, True
        try:
            result = await self._dialogue(connection)
            finished = True
            return result
        except aiosmtplib.SMTPResponseException as refusal:
            with suppress(aiosmtplib.SMTPException):
                await connection.rset()
                finished = True
            return smtp_result(refusal, self.content_begun)
        finally:
            if not finished:
                connection.close()

    async def _dialogue(self, connection: aiosmtplib.SMTP) -> ProviderResult:
        to, encoding, options = self._message.to, "ascii", ["BODY=8BITMIME"]
        if not to.isascii():
            if not connection.supports_extension("smtputf8"):
                return ProviderResult(
                    outcome=ProviderOutcome.REJECTED,
                    provider=Smtp.name,
                    detail="the server lacks SMTPUTF8",
                    code="smtputf8",
                )
            encoding, options = "utf-8", ["SMTPUTF8", "BODY=8BITMIME"]
        elif not connection.supports_extension("8bitmime"):
            options = []
        # The whole call has one timeout; one a command would only cost.
        await connection.mail(self._sender, options=options, encoding=encoding, timeout=None)
        await connection.rcpt(to, encoding=encoding, timeout=None)
        self.content_begun = True
        reply = await connection.data(self._mail, timeout=None)
        return ProviderResult(
            outcome=ProviderOutcome.ACCEPTED,
            provider=Smtp.name,
            provider_id=message_id(self._message.delivery_id),
            detail=f"SMTP {reply.code}",
        )


def smtp_result(trouble: Exception, content_begun: bool, *, begun: bool = True) -> ProviderResult:
    """What a refusal or a broken dialogue means. The server's text is dropped: it often repeats the address."""
    if isinstance(trouble, aiosmtplib.SMTPResponseException) and 400 <= trouble.code < 600:
        code, kind = str(trouble.code), f"SMTP {trouble.code}"
        about_us = trouble.code in _RETRIED or isinstance(
            trouble, aiosmtplib.SMTPConnectError | aiosmtplib.SMTPHeloError
        )
        outcome = ProviderOutcome.RETRY if trouble.code < 500 or about_us else ProviderOutcome.REJECTED
        return ProviderResult(outcome=outcome, provider=Smtp.name, detail=kind, code=code, begun=begun)
    return ProviderResult(
        outcome=ProviderOutcome.RETRY,
        provider=Smtp.name,
        detail=type(trouble).__name__,
        maybe_accepted=content_begun,
        begun=begun,
    )
