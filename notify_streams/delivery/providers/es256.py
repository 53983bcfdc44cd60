"""Signs JSON Web Tokens with ES256 (RFC 7518, section 3.4)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import orjson
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    EllipticCurvePrivateKey,
    derive_private_key,
)
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from notify_streams.records.base64url import base64url, from_base64url

_SHA256: Final = ECDSA(SHA256())
_BYTES: Final = 32


class Es256Key:
    """A private key of the curve P-256. `repr` shows nothing of it."""

    __slots__ = ("_key",)

    def __init__(self, text: str) -> None:
        """`text` is PEM (PKCS #8 or SEC 1, without a password), or the key's 32 bytes in base64url.

        Raises:
            ValueError: it is neither.
        """
        self._key = _from_pem(text) if "-----" in text else _from_number(text)

    def public_point(self) -> str:
        """The public key: an uncompressed point (65 bytes) in base64url."""
        return base64url(self._key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint))

    def sign(self, header: Mapping[str, object], claims: Mapping[str, object]) -> str:
        """The token. `header` is extended by the algorithm."""
        content = f"{base64url(orjson.dumps({'alg': 'ES256', **header}))}.{base64url(orjson.dumps(claims))}"
        r, s = decode_dss_signature(self._key.sign(content.encode(), _SHA256))
        return f"{content}.{base64url(r.to_bytes(_BYTES, 'big') + s.to_bytes(_BYTES, 'big'))}"


def _from_pem(text: str) -> EllipticCurvePrivateKey:
    try:
        key = load_pem_private_key(text.encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ValueError("the key is not a private key in PEM without a password") from None
    if not isinstance(key, EllipticCurvePrivateKey) or not isinstance(key.curve, SECP256R1):
        raise ValueError("the key is not of the curve P-256")
    return key


def _from_number(text: str) -> EllipticCurvePrivateKey:
    try:
        data = from_base64url(text.strip())
        if len(data) != _BYTES:
            raise ValueError
        return derive_private_key(int.from_bytes(data, "big"), SECP256R1())
    except ValueError:
        raise ValueError("the key is neither PEM nor 32 bytes in base64url") from None
