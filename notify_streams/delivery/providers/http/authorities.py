"""The authorities whose certificates new connections take."""

from __future__ import annotations

import hashlib
import ssl
from pathlib import Path

from notify_streams.delivery.providers.http.tls import HTTP, tls_context, unreadable
from notify_streams.followed_files import CHECK_S, BadCredential, FollowedFiles


class Authorities:
    """Reads `ca_file` again when it is replaced. Connections that are open are not interrupted."""

    def __init__(self, ca_file: str | None, check_s: float = CHECK_S, protocol: str = HTTP) -> None:
        """`ca_file`, `protocol`: see `tls_context`. `check_s`: time between two looks at the file."""
        self._ca_file = ca_file
        self._protocol = protocol
        self._context: ssl.SSLContext | None = None
        self._content = b""
        files = [] if ca_file is None else [Path(ca_file)]
        self._files = FollowedFiles("providers.ca_file", files, self._read_again, self._use, check_s)

    @property
    def context(self) -> ssl.SSLContext:
        """For the next connection.

        Raises:
            RuntimeError: not started.
        """
        if self._context is None:
            raise RuntimeError("the authorities are not read: call start() first")
        return self._context

    async def start(self) -> None:
        """Read the file, and follow it.

        Raises:
            OSError: it cannot be read or has no certificate.
        """
        if self._context is None:
            self._content = self._digest()
            self._context = tls_context(self._ca_file, self._protocol)
        await self._files.start()

    async def close(self) -> None:
        await self._files.close()

    def _read_again(self) -> ssl.SSLContext | None:
        """None if the file has the content that is in use. Runs in a thread."""
        try:
            content = self._digest()
            if content == self._content:
                return None
            context = tls_context(self._ca_file, self._protocol)
        except OSError as error:
            raise BadCredential(unreadable("ca_file", self._ca_file, error)) from None
        self._content = content
        return context

    def _use(self, context: ssl.SSLContext) -> None:
        self._context = context

    def _digest(self) -> bytes:
        return b"" if self._ca_file is None else hashlib.sha256(Path(self._ca_file).read_bytes()).digest()
