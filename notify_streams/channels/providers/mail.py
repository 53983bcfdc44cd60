"""A message as a mail (RFC 5322). Pure: an `Outgoing` in, bytes out; nothing in it can add a header or an address."""

from __future__ import annotations

import re
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8
from email.utils import formatdate
from urllib.parse import quote

from notify_streams.channels.providers.marks import marks
from notify_streams.channels.providers.provider import Outgoing

#: one mailbox and nothing else: no name, list, comment, quoting, space or control character (a subset of RFC 5321 §4.1.2)
_ADDRESS = re.compile(r"[^\s\x00-\x1f\x7f<>()\[\],;:\\\"@]{1,64}@[^\s\x00-\x1f\x7f<>()\[\],;:\\\"@]{1,255}")
#: everything that a mail reader or server may take for the end of a line, and the other control characters
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
#: a subject taken from the body ends here
_SUBJECT_LENGTH = 78


def is_address(to: str) -> bool:
    """Whether `to` is exactly one plain mailbox."""
    return _ADDRESS.fullmatch(to) is not None


def message_id(delivery_id: str) -> str:
    """The same for every attempt at a delivery, so that a mailbox may fold a duplicate away."""
    return f"<{quote(delivery_id, safe='')}@notify-streams>"


def as_mail(message: Outgoing, sender: str, now: float) -> bytes:
    """The mail with its marks as `X-Notify-…` headers. `message.to` and `sender` satisfy `is_address`."""
    mail = EmailMessage(policy=SMTP if message.to.isascii() else SMTPUTF8)
    mail["From"] = sender
    mail["To"] = message.to
    mail["Subject"] = one_line(message.title if message.title is not None else message.body[:_SUBJECT_LENGTH])
    mail["Date"] = formatdate(now)
    mail["Message-ID"] = message_id(message.delivery_id)
    # RFC 3834: keeps out-of-office replies away.
    mail["Auto-Submitted"] = "auto-generated"
    for name, text in marks(message).items():
        mail["X-Notify-" + name.replace("_", "-").title()] = one_line(text)
    mail.set_content(message.body)
    return mail.as_bytes()


def one_line(text: str) -> str:
    """The text without anything that could end a header."""
    return _CONTROLS.sub(" ", text)
