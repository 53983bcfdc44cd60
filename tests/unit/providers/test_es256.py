"""The tokens that authenticate us are ES256 of RFC 7518, as PyJWT reads them."""

from __future__ import annotations

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    SECP384R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)

from notify_streams.delivery.providers.es256 import Es256Key
from notify_streams.records.base64url import base64url, from_base64url

KEY = generate_private_key(SECP256R1())


def pem(
    key: EllipticCurvePrivateKey,
    form: PrivateFormat = PrivateFormat.PKCS8,
    encryption: KeySerializationEncryption | None = None,
) -> str:
    return key.private_bytes(Encoding.PEM, form, encryption or NoEncryption()).decode()


@pytest.mark.parametrize(
    "text",
    [
        pem(KEY),
        pem(KEY, PrivateFormat.TraditionalOpenSSL),
        base64url(KEY.private_numbers().private_value.to_bytes(32, "big")),
    ],
    ids=["PKCS #8", "SEC 1", "32 bytes"],
)
def test_a_token_is_verified_with_the_public_key(text: str) -> None:
    key = Es256Key(text)
    public = EllipticCurvePublicKey.from_encoded_point(SECP256R1(), from_base64url(key.public_point()))
    for number in range(20):  # r and s have leading zeros at times
        token = key.sign({"kid": "k"}, {"iss": "team", "iat": number})
        assert jwt.decode(token, public, ["ES256"], options={"verify_iat": False}) == {"iss": "team", "iat": number}
        assert jwt.get_unverified_header(token) == {"alg": "ES256", "kid": "k"}


@pytest.mark.parametrize(
    "text",
    [
        pem(generate_private_key(SECP384R1())),
        pem(KEY, encryption=BestAvailableEncryption(b"password")),
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        base64url(bytes(32)),
        base64url(b"x" * 31),
        "käse",
        "",
    ],
    ids=["another curve", "a password", "no key", "zero", "31 bytes", "not ASCII", "nothing"],
)
def test_anything_else_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(ValueError) as error:
        Es256Key(text)
    assert not text or text not in str(error.value)
