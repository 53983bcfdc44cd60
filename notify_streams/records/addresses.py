"""What counts as a phone number, a push token and a mail address.

One rule for the records that bring a contact and for the senders that use it: what is stored can be sent to.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

import idna

from notify_streams.records.push_subscription import push_subscription

_PHONE: Final = re.compile(r"\+[1-9][0-9]{5,14}")  # E.164; the shortest that phonenumbers knows has 6 digits
_TOKEN: Final = re.compile(r"[!-~]{1,512}")  # printable ASCII
#: Of Web Push. Endpoints of some push services have more than 400 characters.
_SUBSCRIPTION: Final = re.compile(r"\{[!-~]{1,2047}")
#: RFC 5321 §4.1.2 `Dot-string`: no quoting, comment, list, space or control character. RFC 6531 §3.3 adds what is not ASCII.
_ATOM: Final = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\x80-\U0010ffff-]+"
_LOCAL: Final = re.compile(rf"{_ATOM}(?:\.{_ATOM})*")
_LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_DOMAIN: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
#: RFC 5321 §4.5.3.1, in bytes. A path of 256 has angle brackets.
_MAX_LOCAL: Final = 64
_MAX_ADDRESS: Final = 254
#: Unicode categories: control, format, surrogate, private use, unassigned; line, paragraph and other separators.
_UNPRINTABLE: Final = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"))


def is_phone_number(text: str) -> bool:
    """Whether `text` is an E.164 number: ``+`` and 6 to 15 digits."""
    return _PHONE.fullmatch(text) is not None


def is_push_token(text: str) -> bool:
    """Whether `text` is a token of FCM or APNs (1 to 512 printable ASCII characters), or a Web Push subscription.

    What begins with ``{`` must be a subscription with an https:// endpoint: JSON without blanks, at most 2,048 printable ASCII characters.
    """
    if text.startswith("{"):
        return _SUBSCRIPTION.fullmatch(text) is not None and push_subscription(text) is not None
    return _TOKEN.fullmatch(text) is not None


def is_mail_address(text: str) -> bool:
    """Whether `text` is exactly one plain mailbox that our mailer sends to."""
    return mailbox(text) is not None


def mailbox(text: str) -> str | None:
    """The address as a mail server takes it, its domain in ASCII (A-labels, RFC 5891); None if it is not one plain mailbox."""
    local, at, domain = text.rpartition("@")
    if not at or len(text) > _MAX_ADDRESS or not _LOCAL.fullmatch(local):
        return None
    if not domain.isascii():
        try:
            domain = idna.encode(domain, uts46=True).decode()
        except idna.IDNAError:
            return None
    if not local.isascii() and any(unicodedata.category(letter) in _UNPRINTABLE for letter in local):
        return None
    local_bytes = len(local.encode())
    if not _DOMAIN.fullmatch(domain) or local_bytes > _MAX_LOCAL or local_bytes + 1 + len(domain) > _MAX_ADDRESS:
        return None
    return f"{local}@{domain}"
