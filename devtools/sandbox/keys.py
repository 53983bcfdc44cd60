"""The keys of the sandbox's APNs and Web Push, in files that outlive the process.

The certificate and the keys are what Apple, a browser and a certificate authority would give.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from devtools.private_file import write_private
from devtools.sandbox.certificate import self_signed_certificate, system_authorities

TEAM_ID: Final = "SANDBOX001"
KEY_ID: Final = "SANDBOXKEY"
#: Of a second key of the team, which may replace the first.
NEXT_KEY_ID: Final = "SANDBOXKY2"
TOPIC: Final = "org.example.app"
SUBJECT: Final = "mailto:operator@example.org"
#: Certificate and key of the sandbox's ports with TLS; the certificate with those that the system trusts.
_SERVER, _AUTHORITIES = "server.pem", "authorities.pem"
_APNS, _APPLICATION, _BROWSER = "apns.p8", "web-push.pem", "browser.pem"
NEXT_APNS: Final = "apns-next.p8"


@dataclass(frozen=True)
class SandboxKeys:
    """`open_keys` reads them."""

    #: Certificate and key of the ports with TLS (PEM).
    server: Path
    #: APNs takes what these keys have signed, by key id.
    apns: Mapping[str, EllipticCurvePublicKey]
    #: Each subscription belongs to this application server (VAPID).
    application: EllipticCurvePublicKey
    #: Messages are encrypted for it.
    browser: EllipticCurvePrivateKey


def open_keys(folder: Path) -> SandboxKeys:
    """The keys in `folder`; those that are missing are made."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    server = folder / _SERVER
    if not server.exists():
        write_private(server, b"".join(self_signed_certificate()).decode())
    own = server.read_text().partition("-----BEGIN CERTIFICATE-----")
    write_private(folder / _AUTHORITIES, f"{own[1]}{own[2]}{system_authorities().decode()}")
    apns = {key_id: _key(folder / name).public_key() for key_id, name in ((KEY_ID, _APNS), (NEXT_KEY_ID, NEXT_APNS))}
    application, browser = (_key(folder / name) for name in (_APPLICATION, _BROWSER))
    return SandboxKeys(server, apns, application.public_key(), browser)


def client_settings(folder: Path, apns_port: int) -> dict[str, Any]:
    """Settings of `providers` with which the sandbox in `folder` takes pushes by APNs and Web Push."""
    return {
        "ca_file": str(folder / _AUTHORITIES),
        "apns": f"https://127.0.0.1:{apns_port}",
        "apns_team_id": TEAM_ID,
        "apns_key_id": KEY_ID,
        "apns_key_file": str(folder / _APNS),
        "apns_topic": TOPIC,
        "web_push_key_file": str(folder / _APPLICATION),
        "web_push_subject": SUBJECT,
        "web_push_private_hosts": True,
    }


def pem(key: EllipticCurvePrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def _key(file: Path) -> EllipticCurvePrivateKey:
    if not file.exists():
        write_private(file, pem(generate_private_key(SECP256R1())))
    key = load_pem_private_key(file.read_bytes(), None)
    assert isinstance(key, EllipticCurvePrivateKey), f"{file} has no key of a curve"
    return key
