"""A certificate for servers of tests on this machine."""

from __future__ import annotations

import asyncio
from pathlib import Path


async def write_host_certificate(folder: Path) -> Path:
    """A PEM file in `folder`: a certificate for 127.0.0.1 and localhost that signs itself, and its key."""
    pem = folder / "server.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "2"]
    made = await asyncio.create_subprocess_exec(
        *(*command, "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
        *("-keyout", str(pem), "-out", str(pem.with_suffix(".crt"))),
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert await made.wait() == 0
    pem.write_text(pem.read_text() + pem.with_suffix(".crt").read_text())
    return pem
