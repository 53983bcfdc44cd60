"""Email by SMTP over persistent connections."""

from __future__ import annotations

import asyncio
import re
import time
from contextlib import suppress

import aiosmtplib
import msgspec

from notify_streams.delivery.providers.config import ProviderConfig
from notify_streams.delivery.providers.credential_files import CredentialFiles
from notify_streams.delivery.providers.dkim_signature import DkimSigner, dkim_signer
from notify_streams.delivery.providers.http_responses import NO_CONNECTION
from notify_streams.delivery.providers.mail_connection import MailConnection
from notify_streams.delivery.providers.mime import message_id, mime_message
from notify_streams.delivery.providers.provider import Outgoing, ProviderOutcome, ProviderResult, unsendable
from notify_streams.delivery.providers.smtp_errors import enhanced_code, is_about_mailbox, reply_outcome
from notify_streams.delivery.providers.smtp_pool import SmtpPool, with_mailbox
from notify_streams.records.addresses import mailbox

#: our log-in or encryption is wrong, not the message (RFC 4954 §6)
_ABOUT_CREDENTIAL = frozenset({530, 534, 535, 538})
#: Codes of MAIL that are about this mail, its size or SMTPUTF8; others are about our sender, which all mails have.
_ABOUT_MAIL = frozenset({"552", "555", "5.2.3", "5.3.4", "5.6.7", "5.7.15", "5.7.16"})
#: RFC 1870 §4
_DIGITS = re.compile(r"[0-9]{1,20}")


_NOT_READY = ProviderResult(
    outcome=ProviderOutcome.RETRY, provider="smtp", detail=NO_CONNECTION, begun=False, not_ready=True
)


class Smtp:
    """See `Provider`. `provider_id` is the Message-ID, which depends on the delivery id alone.

    `smtp_errors` says what a reply means; `code` is its codes: "550 5.1.1".
    """

    name = "smtp"

    def __init__(self, config: ProviderConfig) -> None:
        config = with_mailbox(config)
        self.max_in_flight = config.smtp_connections
        self._config = config
        self._connections = SmtpPool(config)
        self._files = CredentialFiles(
            self.name, config, ("smtp_username", "smtp_password"), lambda new: new, self._connections.replace_login
        )
        self._use_signer(dkim_signer(config))
        self._key_file = CredentialFiles(self.name, config, ("dkim_key",), dkim_signer, self._use_signer)

    async def start(self) -> None:
        """Connections are made when they are needed."""
        await self._files.start()
        await self._key_file.start()

    async def close(self) -> None:
        await self._key_file.close()
        await self._files.close()
        self._connections.close()

    async def send(self, message: Outgoing) -> ProviderResult:
        began = _now()
        to = mailbox(message.to)
        if to is None:
            return unsendable(self.name, ProviderOutcome.BAD_ADDRESS, "not one mail address")
        message = msgspec.structs.replace(message, to=to)
        now = time.time()
        mail = mime_message(message, self._config.mail_sender, now)
        call = _Call(self._config, began, message, mail if self._signer is None else self._signer.signed(mail, now))
        try:
            return await self._attempt(call)
        except (aiosmtplib.SMTPException, OSError) as error:
            # What a server says to a mail is a result of `over`.
            return smtp_result(error, call.content_begun, begun=call.begun, connecting=True)

    def _use_signer(self, signer: DkimSigner | None) -> None:
        self._signer = signer

    async def _attempt(self, call: _Call) -> ProviderResult:
        if (connection := await self._borrow(call.start_by)) is None:
            return _NOT_READY
        used_before = connection.used
        try:
            return await call.over(connection)
        except aiosmtplib.SMTPServerDisconnected:
            # The server closed an idle connection. If no content was sent, retry on a new connection, while the check is good.
            if call.content_begun or not used_before:
                raise
        finally:
            self._connections.give_back(connection)
        if (connection := await self._borrow(call.start_by, fresh=True)) is None:
            return _NOT_READY
        try:
            return await call.over(connection)
        finally:
            self._connections.give_back(connection)

    async def _borrow(self, start_by: float, *, fresh: bool = False) -> MailConnection | None:
        """A connection; None if there is none in time, but perhaps in a moment."""
        if _now() >= start_by:
            return None
        try:
            async with asyncio.timeout_at(start_by):
                return await self._connections.borrow(fresh=fresh)
        except TimeoutError:
            if self._connections.timed_out:
                raise
            return None


class _Call:
    """The SMTP dialogue for one mail.

    `begun`: the dialogue was started. `content_begun`: the server may have accepted the mail.
    """

    def __init__(self, config: ProviderConfig, began: float, message: Outgoing, mail: bytes) -> None:
        """`began`: when `send` was called, by the clock of the event loop."""
        self.begun = False
        self.content_begun = False
        #: Without a connection by then the mail is not sent: the check before the call is too old.
        self.start_by = began + min(config.start_within_s, config.timeout_s)
        #: When the part that is under way has taken too long: the commands, then the content.
        self._end_by = began + config.timeout_s
        self._config = config
        self._sender = config.mail_sender
        self._message = message
        self._mail = mail

    async def over(self, connection: MailConnection) -> ProviderResult:
        """Run the dialogue. Afterwards the connection is ready for the next mail, or closed."""
        finished, self.begun = False, True
        try:
            result = await self._dialogue(connection)
            finished = True
            return result
        except aiosmtplib.SMTPResponseException as error:
            with suppress(aiosmtplib.SMTPException, TimeoutError):
                async with asyncio.timeout_at(min(self._end_by, _now() + self._config.timeout_s)):
                    await connection.reset()
                finished = True
            return smtp_result(error, self.content_begun)
        finally:
            if not finished:
                connection.close()

    async def _dialogue(self, connection: MailConnection) -> ProviderResult:
        to, options = self._message.to, f" SIZE={len(self._mail)}"
        limit = connection.extensions.get("size")
        if limit is None:
            options = ""
        elif _DIGITS.fullmatch(limit) and 0 < int(limit) < len(self._mail):
            return unsendable(
                Smtp.name, ProviderOutcome.TOO_LARGE, f"{len(self._mail)} octets, the server takes {limit}"
            )
        if not (to + self._sender).isascii():
            if "smtputf8" not in connection.extensions:
                return unsendable(Smtp.name, ProviderOutcome.BAD_ADDRESS, "not ASCII, and the server lacks SMTPUTF8")
            options = " SMTPUTF8 BODY=8BITMIME" + options
        async with asyncio.timeout_at(self._end_by):
            await connection.begin(f"<{self._sender}>{options}".encode(), f"<{to}>".encode())
        self.content_begun = True
        if self._message.on_content is not None:
            self._message.on_content()
        self._end_by = _now() + self._config.smtp_reply_timeout_s
        async with asyncio.timeout_at(self._end_by):
            code = await connection.content(self._mail)
        return ProviderResult(
            outcome=ProviderOutcome.ACCEPTED,
            provider=Smtp.name,
            provider_id=message_id(self._message.delivery_id, self._sender),
            detail=f"SMTP {code}",
        )


def _now() -> float:
    return asyncio.get_running_loop().time()


def smtp_result(
    error: Exception, content_begun: bool, *, begun: bool = True, connecting: bool = False
) -> ProviderResult:
    """The result for an error reply or a broken connection, without the server's text, which often contains the address.

    `connecting`: the reply was to no command of a mail. Greeting, EHLO, STARTTLS and AUTH say nothing about the message.
    """
    if isinstance(error, aiosmtplib.SMTPResponseException) and 400 <= error.code < 600:
        enhanced = enhanced_code(error.message)
        outcome, is_known = reply_outcome(error.code, enhanced)
        is_login = isinstance(error, aiosmtplib.SMTPAuthenticationError)
        is_sender = isinstance(error, aiosmtplib.SMTPSenderRefused)
        if connecting or (is_sender and not {str(error.code), enhanced} & _ABOUT_MAIL):
            outcome = ProviderOutcome.RETRY
        return ProviderResult(
            outcome=outcome,
            provider=Smtp.name,
            detail=f"SMTP {error.code}",
            code=f"{error.code} {enhanced}" if enhanced else str(error.code),
            begun=begun,
            unknown_code=not is_known,
            credential_refused=error.code in _ABOUT_CREDENTIAL or (is_login and error.code >= 500),
            one_server=outcome is ProviderOutcome.RETRY
            and isinstance(error, aiosmtplib.SMTPRecipientRefused)
            and is_about_mailbox(error.code, enhanced),
        )
    return ProviderResult(
        outcome=ProviderOutcome.RETRY,
        provider=Smtp.name,
        detail=type(error).__name__,
        maybe_accepted=content_begun,
        begun=begun,
    )
