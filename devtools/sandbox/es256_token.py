"""Verifies JSON Web Tokens with ES256 (RFC 7515, RFC 7518 section 3.4)."""

from __future__ import annotations

from typing import Any

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from notify_streams.records.base64url import from_base64url


def verified(token: str, key: EllipticCurvePublicKey) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims of a token that `key` has signed.

    Raises:
        ValueError: it is no such token.
    """
    content, _, signature = token.rpartition(".")
    header, claims = (msgspec.json.decode(from_base64url(part), type=dict[str, Any]) for part in content.split("."))
    if header.get("alg") != "ES256":
        raise ValueError("the algorithm is not ES256")
    pair = from_base64url(signature)
    if len(pair) != 64:
        raise ValueError("the signature is not r and s of 32 bytes each")
    r, s = (int.from_bytes(half, "big") for half in (pair[:32], pair[32:]))
    try:
        key.verify(encode_dss_signature(r, s), content.encode(), ECDSA(SHA256()))
    except InvalidSignature:
        raise ValueError("another key has signed it") from None
    return header, claims
