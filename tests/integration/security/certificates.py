"""Certificates of one test run, by OpenSSL."""

from __future__ import annotations

import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Certificates:
    """PEM files. Each certificate's file holds its key as well."""

    ca: str
    #: For the name `localhost`; not for 127.0.0.1.
    server: str
    client: str
    #: Has signed none of them.
    other_ca: str

    def server_context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=self.ca)
        context.load_cert_chain(self.server)
        return context


def write_certificates(folder: Path) -> Certificates:
    """Valid for a day. The subject of the client's is `CN=app,O=notify`."""
    for name in ("ca", "other-ca"):
        _openssl(folder, name, f"/CN={name}")
    _openssl(
        folder,
        "server",
        "/CN=localhost",
        "-CA",
        "ca.pem",
        "-CAkey",
        "ca.pem",
        "-addext",
        "subjectAltName=DNS:localhost",
    )
    _openssl(folder, "client", "/O=notify/CN=app", "-CA", "ca.pem", "-CAkey", "ca.pem")
    return Certificates(*(str(folder / f"{name}.pem") for name in ("ca", "server", "client", "other-ca")))


def _openssl(folder: Path, name: str, subject: str, *options: str) -> None:
    """Writes `<name>.pem`."""
    key, certificate = folder / f"{name}.key", folder / f"{name}.crt"
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", subject, *options]
    subprocess.run([*make, "-keyout", str(key), "-out", str(certificate)], cwd=folder, check=True, capture_output=True)
    (folder / f"{name}.pem").write_text(key.read_text() + certificate.read_text())
