"""Headers and text parts of a received mail, by Python's email package."""

from __future__ import annotations

from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import EmailPolicy
from typing import Any, Final, cast

#: Characters. Parsing a header takes time that grows with the square of its length: 64 KiB of parameters took 24 s.
_LONGEST_HEADER: Final = 8_000
_LONGEST_CONTENT_HEADER: Final = 500
#: Parts of a mail, each of which has such headers.
_MOST_PARTS: Final = 30


class _BoundedPolicy(EmailPolicy):
    """`email.policy.default`, but what is too long of a header is cut off, and UTF-8 in headers is read (RFC 6532)."""

    def header_fetch_parse(self, name: str, value: str) -> Any:
        limit = _LONGEST_CONTENT_HEADER if name.lower().startswith("content-") else _LONGEST_HEADER
        text = value[:limit].encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        return super().header_fetch_parse(name, text)


_parser = BytesParser(policy=_BoundedPolicy())


def read_mail(content: bytes) -> EmailMessage:
    """The mail, also an incomplete one.

    Raises:
        ValueError: it has too many parts.
    """
    if content.lower().count(b"content-type:") > _MOST_PARTS:
        raise ValueError(f"a mail with more than {_MOST_PARTS} parts")
    return cast(EmailMessage, _parser.parsebytes(content))  # so says `EmailPolicy.message_factory`


def header(mail: EmailMessage, name: str) -> str:
    """The decoded text of the first header with this name (RFC 2047); empty without one."""
    return _encodable(str(mail.get(name, "")))


def text_of(mail: EmailMessage, kind: str) -> str | None:
    """The part text/`kind` that a mail program would show, or None."""
    part = mail.get_body((kind,))
    if part is None:
        return None
    payload = part.get_payload(decode=True)
    content = payload if isinstance(payload, bytes) else b""
    try:
        return _encodable(content.decode(str(part.get_param("charset", "utf-8")), "replace"))
    except LookupError:  # no such character set
        return content.decode("utf-8", "replace")


def _encodable(text: str) -> str:
    """`text` without the lone surrogates that the email package puts in place of wrong bytes."""
    return text.encode("utf-8", "replace").decode()
