"""Certificates of an authority on this machine."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from devtools.private_file import write_private

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

_PARTS: Final = {"CN": NameOID.COMMON_NAME, "O": NameOID.ORGANIZATION_NAME}
LOCAL_HOSTS: Final = ("localhost", "127.0.0.1")
#: A certificate is valid from a day ago.
_BEFORE: Final = timedelta(days=1)


class Authority:
    """Signs certificates. Its own key is never written: no other process can sign with it."""

    def __init__(self, folder: Path, name: str, life: timedelta = timedelta(days=1)) -> None:
        """Write its certificate to `<folder>/<name>.pem`."""
        self._folder = folder
        self._life = life
        self._key = generate_private_key(SECP256R1())
        self._name = _subject(f"CN={name}")
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(self._signed(self._name, self._key, (), life, ca=True))

    def sign(self, name: str, subject: str, hosts: Collection[str] = (), life: timedelta | None = None) -> Path:
        """A new key with its certificate, in `<folder>/<name>.pem`.

        `subject`: ``O=notify,CN=app``. `hosts`: names and IP addresses. `life`: from now, may be negative; None: that of the authority.
        """
        key = generate_private_key(SECP256R1())
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        certificate = self._signed(_subject(subject), key, hosts, self._life if life is None else life, ca=False)
        file = self._folder / f"{name}.pem"
        write_private(file, (private + certificate).decode())
        return file

    def _signed(
        self, subject: x509.Name, key: EllipticCurvePrivateKey, hosts: Collection[str], life: timedelta, *, ca: bool
    ) -> bytes:
        now = datetime.now(UTC)
        own = x509.SubjectKeyIdentifier.from_public_key(self._key.public_key())
        usage = dict.fromkeys(
            (
                *("content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
                *("encipher_only", "decipher_only"),
            ),
            False,
        )
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _BEFORE)
            .not_valid_after(now + life)
            .add_extension(x509.BasicConstraints(ca, 0 if ca else None), critical=True)
            .add_extension(
                x509.KeyUsage(digital_signature=not ca, key_cert_sign=ca, crl_sign=ca, **usage), critical=True
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own), critical=False)
        )
        if hosts:
            builder = builder.add_extension(x509.SubjectAlternativeName([*map(_host, hosts)]), critical=False)
        return builder.sign(self._key, SHA256()).public_bytes(Encoding.PEM)


def _subject(text: str) -> x509.Name:
    parts = (part.partition("=") for part in text.split(","))
    return x509.Name([x509.NameAttribute(_PARTS[kind], value) for kind, _, value in parts])


def _host(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(text))
    except ValueError:
        return x509.DNSName(text)
