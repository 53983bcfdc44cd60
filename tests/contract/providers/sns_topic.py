"""A topic of SNS with a test authority: signs messages as SNS does, and serves the signing certificate by HTTPS."""

from __future__ import annotations

import http.server
import ssl
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15

TOPIC = "arn:aws:sns:eu-west-1:123456789012:mail-events"
CERTIFICATE_URL = "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0a1b2c.pem"
_PEM = serialization.Encoding.PEM
_DAY = timedelta(days=1)


@dataclass
class Authority:
    """Signs certificates."""

    key: rsa.RSAPrivateKey = field(default_factory=lambda: rsa.generate_private_key(65537, 2048))
    name: x509.Name = field(default_factory=lambda: _named("test authority"))

    def certificate(
        self, key: rsa.RSAPrivateKey, common_name: str, *, age: timedelta = _DAY / 2, is_authority: bool = False
    ) -> bytes:
        """PEM; valid for a day, of which `age` is over."""
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(self.name if is_authority else _named(common_name))
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - age)
            .not_valid_after(now - age + _DAY)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(common_name)]), critical=False)
            .add_extension(x509.BasicConstraints(is_authority, None), critical=True)
        )
        return builder.sign(self.key, hashes.SHA256()).public_bytes(_PEM)

    def pem(self) -> bytes:
        return self.certificate(self.key, "test authority", is_authority=True)


def _named(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])


def key_pem(key: rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def signed(key: rsa.RSAPrivateKey, version: str = "2", url: str = CERTIFICATE_URL, **but: Any) -> dict[str, Any]:
    """A message; fields that are None are left out."""
    message = {
        "Type": "Notification",
        "MessageId": "0b1f-1",
        "TopicArn": TOPIC,
        "Message": '{"eventType":"Send"}',
        "Timestamp": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "SignatureVersion": version,
        "SigningCertURL": url,
        "UnsubscribeURL": "https://sns.eu-west-1.amazonaws.com/?Action=Unsubscribe",
    }
    message = {name: value for name, value in (message | but).items() if value is not None}
    names = ["Message", "MessageId", "Subject", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"]
    text = "".join(f"{name}\n{message[name]}\n" for name in names if name in message)
    digest = hashes.SHA1() if version == "1" else hashes.SHA256()
    return message | {"Signature": b64encode(key.sign(text.encode(), PKCS1v15(), digest)).decode()}


@contextmanager
def serving(
    files: dict[str, bytes], certificate: bytes, key: rsa.RSAPrivateKey, folder: Path
) -> Iterator[tuple[int, list[str]]]:
    """An HTTPS server of these files by path; yields its port and the paths that were asked for."""
    (folder / "server.pem").write_bytes(key_pem(key) + certificate)
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            content = files.get(self.path)
            self.send_response(404 if content is None else 200)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, format: str, *args: Any) -> None:
            return

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1], asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
