"""A pool of persistent SMTP connections to one server.

A borrower that does not know the state of its connection closes it; a closed connection is not reused.
"""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

import aiosmtplib
import msgspec

from notify_streams.addresses import is_loopback
from notify_streams.delivery.providers.config import ProviderConfig
from notify_streams.delivery.providers.mail_connection import MailConnection
from notify_streams.records.addresses import mailbox


class SmtpPool:
    """At most `smtp_connections` connections. The last one used is lent first, so that the others become idle."""

    def __init__(self, config: ProviderConfig) -> None:
        server = urlsplit(config.smtp)
        if server.scheme not in ("smtp", "smtps") or not server.hostname:
            raise ValueError("the smtp URL is invalid: write smtp://host:25 or smtps://host:465")
        self._config = config
        self._host = server.hostname
        self._tls = server.scheme == "smtps"
        self._start_tls = False if self._tls else _start_tls(config)
        self._port = server.port or (465 if self._tls else 25)
        self._free = asyncio.Semaphore(config.smtp_connections)
        self._idle: list[MailConnection] = []
        self._lent: set[MailConnection] = set()
        self._opening: set[asyncio.Task[MailConnection]] = set()
        #: Those of them whose borrower has gone, the oldest first. Each has its place among the connections.
        self._unclaimed: list[asyncio.Task[MailConnection]] = []
        self._closed = False
        #: The last connection was not open in time.
        self.timed_out = False

    async def borrow(self, *, fresh: bool = False) -> MailConnection:
        """A connection that is logged in. `fresh` demands a new one.

        Waits without limit for a free connection; the caller sets a timeout. A connection that is not open by then goes on being opened,
        for the next borrower.

        Raises:
            aiosmtplib.SMTPException, OSError: connecting failed; `TimeoutError` if it took longer than `smtp_connect_timeout_s`,
                `SMTPServerDisconnected` if the pool is closed.
        """
        if self._unclaimed and (fresh or not self._idle):
            opening = self._unclaimed.pop(0)
        else:
            await self._free.acquire()
            while self._idle and not fresh:
                connection = self._idle.pop()
                if connection.idle_since + self._config.smtp_idle_s <= asyncio.get_running_loop().time():
                    connection.close()
                if connection.is_open:
                    self._lent.add(connection)
                    return connection
            opening = asyncio.create_task(self._open())
            self._opening.add(opening)
            opening.add_done_callback(self._opening.discard)
        try:
            await asyncio.wait([opening])
        except asyncio.CancelledError:
            self._unclaimed.append(opening)
            opening.add_done_callback(self._opened)
            raise
        if self._closed:
            self._unclaimed.append(opening)
            self._opened(opening)
            raise _closed_error()
        try:
            connection = opening.result()
        except BaseException:
            self._free.release()
            raise
        self._lent.add(connection)
        return connection

    def give_back(self, connection: MailConnection) -> None:
        """Return a borrowed connection; a closed one is dropped."""
        self._lent.discard(connection)
        self._keep(connection)
        self._free.release()

    def close(self) -> None:
        """Close all connections, including those that are lent, and open none any more."""
        self._closed = True
        for opening in self._opening:
            opening.cancel()
        for connection in (*self._idle, *self._lent):
            connection.close()
        self._idle.clear()

    def replace_login(self, config: ProviderConfig) -> None:
        """Log in as `config` says from now on. Connections in use are not interrupted; the others are closed."""
        self._config = config
        for connection in self._idle:
            connection.close()
        self._idle.clear()

    async def connect(self) -> aiosmtplib.SMTP:
        """A new connection that is not of the pool, logged in and greeted. The caller sets a timeout, and closes it.

        Raises:
            aiosmtplib.SMTPException, OSError: connecting failed.
        """
        config = self._config
        username, password = config.smtp_username, config.smtp_password
        opened = aiosmtplib.SMTP(
            hostname=self._host,
            port=self._port,
            username=None if username is None else username.reveal(),
            password=None if password is None else password.reveal(),
            local_hostname=config.mail_sender.rpartition("@")[2],
            timeout=None,
            use_tls=self._tls,
            start_tls=self._start_tls,
            cert_bundle=config.smtp_ca_file,
        )
        try:
            await opened.connect()
            # After STARTTLS, or without it, what the server offers (SIZE, SMTPUTF8) is not known yet.
            try:
                await opened.ehlo()
            except aiosmtplib.SMTPHeloError:
                await opened.helo()
        except BaseException:
            opened.close()
            raise
        return opened

    async def _open(self) -> MailConnection:
        if self._closed:
            raise _closed_error()
        try:
            async with asyncio.timeout(self._config.smtp_connect_timeout_s):
                opened = await self.connect()
        except TimeoutError:
            self.timed_out = True
            raise
        self.timed_out = False
        try:
            return MailConnection(opened)
        except BaseException:
            opened.close()
            raise

    def _opened(self, opening: asyncio.Task[MailConnection]) -> None:
        """Keep the connection if no borrower waits for it."""
        if opening not in self._unclaimed:
            return
        self._unclaimed.remove(opening)
        if not opening.cancelled() and opening.exception() is None:
            self._keep(opening.result())
        self._free.release()

    def _keep(self, connection: MailConnection) -> None:
        """For the next borrower, if there can be one."""
        if self._closed:
            connection.close()
        elif connection.is_open:
            connection.idle_since = asyncio.get_running_loop().time()
            self._idle.append(connection)


def _closed_error() -> aiosmtplib.SMTPServerDisconnected:
    return aiosmtplib.SMTPServerDisconnected("the client is closed")


def with_mailbox(config: ProviderConfig) -> ProviderConfig:
    """`config` with its sender as a mail server takes it: the domain in ASCII.

    Raises:
        ValueError: the sender is not one plain mail address.
    """
    sender = mailbox(config.mail_sender)
    if sender is None:
        raise ValueError("mail_sender is invalid: write one plain mail address")
    return msgspec.structs.replace(config, mail_sender=sender)


def _start_tls(config: ProviderConfig) -> bool | None:
    """True: STARTTLS or no mail; None: if the server offers it; False: never."""
    tls = config.smtp_tls or ("none" if is_loopback(config.smtp) else "require")
    if tls != "require" and config.smtp_username is not None:
        raise ValueError("a login at the mail server needs encryption: set smtp_tls to require, or use smtps://")
    return {"require": True, "starttls": None, "none": False}[tls]
