"""Certificates of one test run."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Certificates:
    """PEM files. Each certificate's file holds its key as well."""

    ca: str
    #: For the name `localhost`; not for 127.0.0.1.
    server: str
    #: The same, until an hour ago.
    expired: str
    #: For the name `elsewhere.example`.
    elsewhere: str
    client: str
    #: Has signed none of them.
    other_ca: str

    def server_context(self, certificate: str | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=self.ca)
        context.load_cert_chain(certificate or self.server)
        return context


class Authority:
    """Signs certificates that are valid for a day."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._name = _name(name)
        self._key = _new_key()
        self.file = self._write(name, self._name, self._key, x509.BasicConstraints(ca=True, path_length=0))

    def sign(self, file: str, subject: str, host: str | None = None, life_h: float = 24) -> str:
        """The new file `<file>.pem`. The subject's parts are separated by commas: ``CN=app,O=notify``."""
        extension = x509.SubjectAlternativeName([x509.DNSName(host)]) if host else x509.BasicConstraints(False, None)
        return self._write(file, _name(subject), _new_key(), extension, life_h)

    def _write(
        self, file: str, subject: x509.Name, key: rsa.RSAPrivateKey, extension: x509.ExtensionType, life_h: float = 24
    ) -> str:
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(hours=life_h))
            .add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
            .sign(self._key, SHA256())
        )
        path = self._folder / f"{file}.pem"
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        path.write_bytes(private + certificate.public_bytes(Encoding.PEM))
        return str(path)


def write_certificates(folder: Path) -> Certificates:
    """Those of one run, in `folder`."""
    ca, other = Authority(folder, "CN=ca"), Authority(folder, "CN=other-ca")
    return Certificates(
        ca.file,
        ca.sign("server", "CN=localhost", "localhost"),
        ca.sign("expired", "CN=localhost", "localhost", life_h=-1),
        ca.sign("elsewhere", "CN=elsewhere.example", "elsewhere.example"),
        ca.sign("client", "O=notify,CN=app"),
        other.file,
    )


def _new_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def _name(subject: str) -> x509.Name:
    kinds = {"CN": NameOID.COMMON_NAME, "O": NameOID.ORGANIZATION_NAME}
    parts = (part.partition("=") for part in subject.split(","))
    return x509.Name([x509.NameAttribute(kinds[kind], value) for kind, _, value in parts])
