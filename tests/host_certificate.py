"""A certificate for servers of tests on this machine."""

from __future__ import annotations

from pathlib import Path

from devtools.sandbox.certificate import self_signed_certificate


def write_host_certificate(folder: Path) -> Path:
    """A PEM file in `folder`: a certificate for 127.0.0.1 and localhost that signs itself, and its key; beside it the certificate alone."""
    key, certificate = self_signed_certificate()
    pem = folder / "server.pem"
    pem.write_bytes(key + certificate)
    pem.with_suffix(".crt").write_bytes(certificate)
    return pem
