"""The bytes of a POST request before its body."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

_URL: Final = re.compile(r"[!-~]+")
#: RFC 9110 §5.6.2
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
#: Latin-1 without control characters, apart from the tab.
_VALUE: Final = re.compile(r"[\t -~\x80-\xff]*")
_PORTS: Final = {"http": 80, "https": 443}
#: What the client itself decides.
_OWN: Final = frozenset(
    {"connection", "content-length", "expect", "host", "te", "trailer", "transfer-encoding", "upgrade"}
)


@dataclass(frozen=True, slots=True)
class Server:
    """Where connections go to. Calls to equal servers share them."""

    tls: bool
    host: str
    port: int


def server_and_target(url: str) -> tuple[Server, str]:
    """The server of an absolute http:// or https:// URL, and the first lines of its requests.

    Raises:
        ValueError: the URL is invalid, or has a user name.
    """
    if not _URL.fullmatch(url):
        raise ValueError("a URL has visible ASCII characters only")
    parts = urlsplit(url)
    if parts.scheme not in _PORTS or not parts.hostname or "@" in parts.netloc:
        raise ValueError("write the URL as https://host/path")
    port = parts.port or _PORTS[parts.scheme]
    path = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
    return (
        Server(parts.scheme == "https", parts.hostname, port),
        f"POST {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nUser-Agent: notify-streams\r\n",
    )


def request_head(first_lines: str, headers: Mapping[str, str]) -> bytes:
    """The head up to the value of Content-Length.

    Raises:
        ValueError: a name or value is not allowed in a header, or the header is one that the client itself sets.
    """
    for name, value in headers.items():
        if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            raise ValueError("a header has characters that are not allowed")
        if name.lower() in _OWN:
            raise ValueError(f"the client itself sets {name}")
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"{first_lines}{lines}Content-Length: ".encode("latin-1")
