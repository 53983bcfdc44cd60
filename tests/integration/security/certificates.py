"""Certificates of one test run."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from devtools.certificates import Authority


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


def write_certificates(folder: Path) -> Certificates:
    """Those of one run, in `folder`."""
    ca, other = Authority(folder, "ca"), Authority(folder, "other-ca")
    files = (
        ca.file,
        ca.sign("server", "CN=localhost", ["localhost"]),
        ca.sign("expired", "CN=localhost", ["localhost"], timedelta(hours=-1)),
        ca.sign("elsewhere", "CN=elsewhere.example", ["elsewhere.example"]),
        ca.sign("client", "O=notify,CN=app"),
        other.file,
    )
    return Certificates(*map(str, files))
