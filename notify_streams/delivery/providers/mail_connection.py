"""Sends mails, one after another, over a connection that aiosmtplib has opened.

aiosmtplib connects, encrypts and logs in. It waits for the reply to each command, which takes more CPU time than the mail itself; here the
commands of a mail are sent together where the server offers that (RFC 2920).
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple, cast

import aiosmtplib

from notify_streams.delivery.providers.smtp_errors import OURS, enhanced_code

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: RFC 5321 §4.5.3.1.5 allows 512 octets a line. More than this without a complete reply is no SMTP.
_LONGEST_REPLY: Final = 64 * 1024
#: the first digit of a good reply to MAIL, RCPT and DATA
_EXPECTED: Final = (2, 2, 3)
_CLOSING: Final = 421


class _Reply(NamedTuple):
    code: int
    #: of a refusal, if its text begins with one
    enhanced: str | None = None


class MailConnection(asyncio.Protocol):
    """Takes over the transport of `opened`, which was greeted with EHLO or HELO. Sends one mail at a time.

    Replies are kept without their text, which often contains the address. The message of a `SMTPResponseException` is the enhanced code.
    """

    def __init__(self, opened: aiosmtplib.SMTP) -> None:
        # uvloop's transports are none of asyncio's classes.
        transport = cast("asyncio.Transport | None", opened.transport)
        if transport is None or transport.is_closing():
            raise aiosmtplib.SMTPServerDisconnected("the connection was closed")
        self._transport = transport
        #: What the server offers: lower-case name → parameters.
        self.extensions: Mapping[str, str] = dict(opened.esmtp_extensions)
        #: A mail was sent, or was refused.
        self.used = False
        #: By the clock of the event loop; set by its owner.
        self.idle_since = 0.0
        self._buffer = bytearray()
        self._replies: deque[_Reply] = deque()
        #: Of the reply whose first lines have arrived.
        self._ours: str | None = None
        #: Replies that are due.
        self._due = 0
        self._arrived: asyncio.Future[None] | None = None
        transport.set_protocol(self)

    @property
    def is_open(self) -> bool:
        return not self._transport.is_closing()

    def close(self) -> None:
        """Close at once; a call in progress raises `SMTPServerDisconnected`."""
        self._transport.abort()
        self._wake()

    async def begin(self, sender: bytes, to: bytes) -> None:
        """Start a mail: `sender` and `to` are the arguments of MAIL and RCPT.

        Raises:
            SMTPSenderRefused, SMTPRecipientRefused, SMTPDataError: a command was refused. Call `reset` before the next mail.
            SMTPServerDisconnected: the connection is closed.
        """
        used_before, self.used = self.used, True
        commands = [b"MAIL FROM:%b\r\n" % sender, b"RCPT TO:%b\r\n" % to, b"DATA\r\n"]
        replies: list[_Reply] = []
        if "pipelining" in self.extensions:
            self._send(b"".join(commands), 3)
            replies = [await self._reply() for _ in commands]
            if replies[2].code // 100 == 3 and any(one.code // 100 != 2 for one in replies[:2]):
                self._send(b".\r\n", 1)
                await self._reply()
        else:
            for command, expected in zip(commands, _EXPECTED, strict=True):
                self._send(command, 1)
                replies.append(await self._reply())
                if replies[-1].code // 100 != expected:
                    break
        refused = _first_refusal(replies)
        if refused is not None and refused.code == _CLOSING and used_before:
            self.close()
            raise aiosmtplib.SMTPServerDisconnected("the server closes a connection that was idle")
        if refused is not None:
            raise refused

    async def content(self, mail: bytes) -> int:
        """Send the content, which ends with a line end; returns the code of the server's acceptance.

        Raises:
            SMTPResponseException: the mail was refused.
            SMTPServerDisconnected: the connection is closed; it is unknown whether the mail was accepted.
        """
        escaped = mail.replace(b"\r\n.", b"\r\n..")
        self._send((b"." if mail.startswith(b".") else b"") + escaped + b".\r\n", 1)
        return await self._success()

    async def reset(self) -> None:
        """End a mail that was refused.

        Raises:
            SMTPException: the connection cannot be used again.
        """
        self._send(b"RSET\r\n", 1)
        await self._success()

    # Called by the transport.

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\n")) >= 0:
            line = bytes(self._buffer[:end])
            del self._buffer[: end + 1]
            if line[3:4] == b"-":
                # A long text may begin with what the refusal is about.
                if line[:1] == b"5" and (found := enhanced_code(line[4:].decode("latin-1"))) in OURS:
                    self._ours = found
                continue
            # A reply without a command announces the end of the connection (421).
            if not line[:3].isdigit() or self._due <= len(self._replies):
                self._transport.abort()
                break
            code = int(line[:3])
            enhanced = self._ours or enhanced_code(line[4:].decode("latin-1"))
            self._replies.append(_Reply(code, enhanced if code >= 400 else None))
            self._ours = None
        if len(self._buffer) > _LONGEST_REPLY:
            self._transport.abort()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self._wake()

    def _wake(self) -> None:
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)

    def _send(self, data: bytes, replies: int) -> None:
        if not self.is_open:
            raise aiosmtplib.SMTPServerDisconnected("the connection is closed")
        self._due += replies
        self._transport.write(data)

    async def _success(self) -> int:
        reply = await self._reply()
        if reply.code // 100 != 2:
            raise aiosmtplib.SMTPResponseException(reply.code, reply.enhanced or "")
        return reply.code

    async def _reply(self) -> _Reply:
        while not self._replies:
            if not self.is_open:
                raise aiosmtplib.SMTPServerDisconnected("the connection is closed")
            self._arrived = asyncio.get_running_loop().create_future()
            await self._arrived
        self._due -= 1
        return self._replies.popleft()


def _first_refusal(replies: Sequence[_Reply]) -> aiosmtplib.SMTPResponseException | None:
    """The error for the first of MAIL, RCPT and DATA that was refused, without an address."""
    for at, (reply, expected) in enumerate(zip(replies, _EXPECTED, strict=False)):
        if reply.code // 100 == expected:
            continue
        text = reply.enhanced or ""
        if at == 0:
            return aiosmtplib.SMTPSenderRefused(reply.code, text, "")
        return (
            aiosmtplib.SMTPRecipientRefused(reply.code, text, "")
            if at == 1
            else aiosmtplib.SMTPDataError(reply.code, text)
        )
    return None
