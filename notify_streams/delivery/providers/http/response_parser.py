"""Parses the responses of one connection."""

from __future__ import annotations

import time
from typing import Final

import httptools

from notify_streams.delivery.providers.http_responses import HttpResponse, retry_after_s

#: bytes of interim responses, status line and headers
MAX_HEAD: Final = 64 * 1024
#: bytes of the body; the frames of a chunked one count
MAX_BODY: Final = 1024 * 1024
_SWITCHING: Final = 101
#: Headers that hold a provider's error code: Amazon's.
_KEPT: Final = frozenset({b"x-amzn-errortype"})


class ResponseParser:
    """One response after the other. Interim responses (1xx) are skipped.

    After an error, or once `reusable` is False, the connection is of no more use.
    """

    def __init__(self) -> None:
        #: the connection may have another request
        self.reusable = True
        self._parser = httptools.HttpResponseParser(self)
        self._response: HttpResponse | None = None
        self._received = 0
        self._head_complete = False
        self._ends_with_connection = True
        self._retry_after: str | None = None
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []

    def feed(self, data: bytes | memoryview) -> HttpResponse | None:
        """The response, if it is complete now. Bytes after it make the connection unusable, but not the response.

        Raises:
            ValueError: this is no HTTP/1 response, or it is too large.
        """
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self.reusable = False
            if self._response is None:
                raise ValueError("the response is malformed") from error
        if self._response is not None:
            return self._take()
        self._received += len(data)
        if self._received > (MAX_HEAD + MAX_BODY if self._head_complete else MAX_HEAD):
            raise ValueError("the response is too large")
        return None

    def end(self) -> HttpResponse | None:
        """The response that the end of the connection completes; None if it is cut."""
        self.reusable = False
        if not self._head_complete or not self._ends_with_connection:
            return None
        self._complete()
        return self._take()

    def _complete(self) -> None:
        self._response = HttpResponse(
            self._parser.get_status_code(),
            retry_after_s(self._retry_after, time.time()),
            b"".join(self._body),
            self._headers,
        )

    def _take(self) -> HttpResponse | None:
        response, self._response = self._response, None
        self._received = 0
        return response

    # Called by the parser.

    def on_message_begin(self) -> None:
        if self._response is not None:
            raise ValueError("a second response without a request")
        self._head_complete = False
        self._ends_with_connection = True
        self._retry_after = None
        self._headers = {}
        self._body = []

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._head_complete:
            return  # a trailer
        name = name.lower()
        if name == b"content-length":
            self._ends_with_connection = False
        elif name == b"transfer-encoding":
            if value.strip().lower() != b"chunked":
                raise ValueError("a transfer encoding that was not offered")
            self._ends_with_connection = False
        elif name == b"retry-after" and self._retry_after is None:
            self._retry_after = value.decode("latin-1")
        elif name in _KEPT:
            self._headers[name.decode()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 100 or status == _SWITCHING:
            raise ValueError("no final status")
        self._head_complete = status >= 200

    def on_body(self, data: bytes) -> None:
        self._body.append(data)

    def on_message_complete(self) -> None:
        if self._head_complete:
            self._head_complete = False
            self.reusable = self._parser.should_keep_alive()
            self._complete()
