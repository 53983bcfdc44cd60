"""Builds a mail (RFC 5322) from a message; no text can add a header or an address.

Python's `EmailMessage` is not used because it takes 1 ms a mail, half of the time for sending it; this takes 20 µs.
"""

from __future__ import annotations

import re
from base64 import encodebytes
from email.header import Header
from email.utils import formatdate
from hashlib import blake2b

from notify_streams.delivery.providers.delivery_metadata import delivery_metadata
from notify_streams.delivery.providers.provider import Outgoing

#: control characters and everything that a server or mail client may read as the end of a line
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_LINE_END = re.compile(r"\r\n|\r|\n")
#: RFC 5322 §2.1.1: lines should have at most 78 characters and must have at most 998
_LINE = 78
_MAX_LINE = 998
#: Programs read the metadata: a usual id is in one piece, and encoding it would take longer than the rest of the mail.
_METADATA_LINE = 200


def message_id(delivery_id: str, sender: str) -> str:
    """The same for each attempt of a delivery, so that a mail server can drop duplicates. A digest: an id may be longer than a line.

    The domain is the sender's, which keeps the ids of different systems apart (RFC 5322 §3.6.4).
    """
    return f"<{blake2b(delivery_id.encode(), digest_size=16).hexdigest()}@{sender.rpartition('@')[2]}>"


def mime_message(message: Outgoing, sender: str, now: float) -> bytes:
    """The mail, with the delivery metadata as `X-Notify-…` headers. `message.to` and `sender` are results of `mailbox`.

    With `message.html` it is `multipart/alternative` (RFC 2046 §5.1.4): the text, then the HTML, which programs prefer.
    """
    content = _part("plain", message.body)
    if message.html is not None:
        content = _alternatives(content, _part("html", message.html))
    lines = [
        # Not encoded (RFC 6532 allows UTF-8): `mailbox` excludes special characters.
        f"From: {sender}",
        f"To: {message.to}",
        header("Subject", message.title if message.title is not None else message.body[:_LINE]),
        f"Date: {formatdate(now)}",
        f"Message-ID: {message_id(message.delivery_id, sender)}",
        # Prevents out-of-office replies (RFC 3834).
        "Auto-Submitted: auto-generated",
        *_unsubscribe(message.unsubscribe),
        *(
            header("X-" + name.replace("_", "-").title(), text, _METADATA_LINE)
            for name, text in delivery_metadata(message).items()
        ),
        "MIME-Version: 1.0",
        content,
    ]
    return "\r\n".join(lines).encode()


def _unsubscribe(link: str | None) -> list[str]:
    """The headers of RFC 8058 §3.1. A link is never folded; one that does not fit in a line is left out."""
    line = f"List-Unsubscribe: <{link}>"
    if link is None or len(line) > _MAX_LINE:
        return []
    return [line, "List-Unsubscribe-Post: List-Unsubscribe=One-Click"]


def header(name: str, text: str, line: int = _LINE) -> str:
    """One header line, folded and encoded (RFC 2047) if it is not ASCII or longer than `line`, without the control characters of `text`."""
    text = _CONTROLS.sub(" ", text)
    if text.isascii() and "=?" not in text and len(name) + 2 + len(text) <= line:
        return f"{name}: {text}"
    return f"{name}: " + Header(text, "utf-8", header_name=name).encode(linesep="\r\n")


def _alternatives(text: str, html: str) -> str:
    """The two parts as one. The boundary is a digest of both, so that no sender can write it into a text."""
    digest = blake2b(text.encode(), digest_size=16)
    digest.update(html.encode())
    boundary = digest.hexdigest()
    return (
        f'Content-Type: multipart/alternative; boundary="{boundary}"\r\n\r\n'
        f"--{boundary}\r\n{text}\r\n--{boundary}\r\n{html}\r\n--{boundary}--\r\n"
    )


def _part(kind: str, body: str) -> str:
    """Headers, a blank line and the encoded body of a text, which ends with a line end."""
    transfer, content = _content(body)
    return f'Content-Type: text/{kind}; charset="utf-8"\r\nContent-Transfer-Encoding: {transfer}\r\n\r\n{content}'


def _content(body: str) -> tuple[str, str]:
    """The transfer encoding and the encoded body, which ends with a line end."""
    lines = _LINE_END.split(body)
    if body.isascii() and "\0" not in body and all(len(line) <= _MAX_LINE for line in lines):
        return "7bit", "\r\n".join(lines) + "\r\n"
    encoded = encodebytes("\r\n".join(lines).encode()).decode("ascii")
    return "base64", encoded.replace("\n", "\r\n")
