"""The signature of Twilio's webhooks.

HMAC of the URL that Twilio called and the sorted fields of the form, in `X-Twilio-Signature`
(https://www.twilio.com/docs/usage/webhooks/webhooks-security).
"""

from __future__ import annotations

import hmac
import re
from base64 import b64encode
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

SIGNATURE_HEADER: Final = "X-Twilio-Signature"
#: ``key=…,algorithm=HMAC_SHA256`` where a shared key signs; without it the account's token signs, with SHA-1.
SETTINGS_HEADER: Final = "X-Twilio-Webhooks-Signature-Settings"
_DIGESTS: Final = {"HMAC_SHA1": "sha1", "HMAC_SHA256": "sha256"}
#: The fields that `twilio_receipts` reads.
_READ: Final = ("MessageSid", "MessageStatus", "SmsStatus", "ErrorCode", "To", "From", "Body", "OptOutType")
#: Those that it reads of a form with `MessageStatus`. Other names may be in its texts: Twilio adds fields, such as the title of an error
#: ("OTP Message Body Filtered").
_READ_OF_STATUS: Final = ("MessageSid", "MessageStatus", "ErrorCode", "To", "From")
_NAME: Final = re.compile(r"[A-Za-z0-9_]+")
_PORTS: Final = {"https": 443, "http": 80}


def is_signed(
    bases: Iterable[str],
    path_qs: str,
    form: Sequence[tuple[str, str]],
    headers: tuple[str | None, str | None],
    tokens: Sequence[str],
) -> bool:
    """Whether one of the tokens has signed a call of this path at one of the public URLs.

    Args:
        bases: public URLs; Twilio may have called another region's, and may have signed a URL with its port or without.
        path_qs: path and query, as they were sent.
        form: the fields of the body, decoded.
        headers: `SIGNATURE_HEADER`, `SETTINGS_HEADER`.
    """
    signature, settings = headers
    digest = _DIGESTS.get(_algorithm(settings))
    if not signature or digest is None or _is_ambiguous(form):
        return False
    fields = "".join(name + value for name, value in sorted(set(form)))
    given = signature.encode("utf-8", "surrogateescape")
    found = False
    for base in bases:
        for url in _with_and_without_port(base):
            text = f"{url}{path_qs}{fields}".encode("utf-8", "surrogateescape")
            for token in tokens:
                expected = b64encode(hmac.digest(token.encode(), text, digest))
                found |= hmac.compare_digest(expected, given)
    return found


def _is_ambiguous(form: Sequence[tuple[str, str]]) -> bool:
    """Whether another form has the same signature: names and values are signed without anything between them.

    A name that is read must be once in the form, or nowhere in the signed text, but in the text of a message.
    """
    fields = dict(form)
    if len(fields) < len(form) or not all(map(_NAME.fullmatch, fields)):
        return True
    text = "".join(name + value for name, value in fields.items() if name != "Body")
    read = _READ_OF_STATUS if "MessageStatus" in fields else _READ
    return any(name not in fields and name in text for name in read)


def _algorithm(settings: str | None) -> str:
    for part in (settings or "").split(","):
        name, _, value = part.partition("=")
        if name.strip() == "algorithm":
            return value.strip().upper()
    return "HMAC_SHA1"


def _with_and_without_port(base: str) -> tuple[str, str]:
    url = urlsplit(base.rstrip("/"))
    host = f"[{url.hostname}]" if ":" in (url.hostname or "") else url.hostname or ""
    port = url.port or _PORTS[url.scheme]
    return (f"{url.scheme}://{host}{url.path}", f"{url.scheme}://{host}:{port}{url.path}")
