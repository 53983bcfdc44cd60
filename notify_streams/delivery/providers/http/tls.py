"""TLS of one client connection, without I/O.

asyncio's own TLS does not let a client see, just before a request, that the server has ended the session, nor afterwards
whether an end was announced. It also takes a fifth more CPU for each call.
"""

from __future__ import annotations

import ssl
from contextlib import suppress
from typing import Final

HTTP: Final = "http/1.1"
#: the largest record
_RECORD: Final = 16 * 1024


def tls_context(ca_file: str | None, protocol: str = HTTP) -> ssl.SSLContext:
    """Requires a certificate for the host, signed by an authority of `ca_file` (PEM), or of the system if that is None.

    `protocol` is what the server is asked to speak (ALPN).

    Raises:
        OSError: the file cannot be read or has no certificate.
    """
    context = ssl.create_default_context(cafile=ca_file)
    context.set_alpn_protocols([protocol])
    context.options |= ssl.OP_NO_RENEGOTIATION
    return context


def unreadable(setting: str, file: str | None, error: OSError) -> str:
    """The sentence for an error of `tls_context`; `setting` of `providers` names the file."""
    return f"providers.{setting}: {file} cannot be read: {error.strerror or 'no certificate in it'}"


class Tls:
    """Received bytes to plain ones, and plain ones to bytes to send. After an error, send `end()` and close."""

    def __init__(self, context: ssl.SSLContext, host: str) -> None:
        #: the handshake is complete
        self.established = False
        #: the server said that it sends nothing more
        self.ended = False
        self._received = ssl.MemoryBIO()
        self._to_send = ssl.MemoryBIO()
        self._session = context.wrap_bio(self._received, self._to_send, server_hostname=host)

    def outgoing(self) -> bytes:
        """Bytes to send now; may be empty."""
        return self._to_send.read() if self._to_send.pending else b""

    def handshake(self) -> None:
        """Begin or continue the handshake.

        Raises:
            ssl.SSLError: it failed; the certificate is not valid for the host, or the server speaks another protocol.
        """
        with suppress(ssl.SSLWantReadError):
            self._session.do_handshake()
            self.established = True
        if self.established and self._session.selected_alpn_protocol() not in (None, HTTP):
            raise ssl.SSLError("the server chose a protocol that was not offered")

    def decrypt(self, data: memoryview) -> bytes:
        """The plain bytes that `data` completes.

        Raises:
            ssl.SSLError: the handshake failed or a record is invalid.
        """
        self._received.write(data)
        if not self.established:
            self.handshake()
            if not self.established:
                return b""
        plain = b""
        # The check saves an exception in each call.
        while self._received.pending or self._session.pending():
            try:
                record = self._session.read(_RECORD)
            except ssl.SSLWantReadError:
                break
            if not record:
                self.ended = True
                break
            plain += record
        return plain

    def encrypt(self, data: bytes) -> bytes:
        """The bytes to send for `data`.

        Raises:
            ssl.SSLError: the session is broken.
        """
        self._session.write(data)  # all of it: a memory buffer is never full
        return self._to_send.read()

    def end(self) -> bytes:
        """The last bytes to send: an alert after an error, else the news that nothing more comes."""
        if self.established:
            with suppress(ssl.SSLError):
                self._session.unwrap()
        return self._to_send.read()
