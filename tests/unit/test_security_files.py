"""The files of a service's log-in and certificates, whatever happens to one of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from devtools.sandbox.certificate import self_signed_certificate
from notify_streams.secret import Secret
from notify_streams.security import KafkaSecurity, OAuthSettings, TlsSettings
from notify_streams.security_files import files_of, follow_security
from tests.waiting import until


def test_every_file_of_a_group_is_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    tls = TlsSettings("ca", "certificate", "key")
    oauth = OAuthSettings("https://a/", "app", Secret.read(tmp_path / "secret"), ca_file="other-ca")
    found = files_of(KafkaSecurity("SASL_SSL", "OAUTHBEARER", oauth=oauth, tls=tls))
    assert sorted(str(file) for file in found) == sorted(
        ["ca", "certificate", "key", "other-ca", str(tmp_path / "secret")]
    )


def replace(file: Path, content: bytes) -> None:
    """At once, as a mounted Secret changes: no look sees a part of it."""
    new = file.with_suffix(".new")
    new.write_bytes(content)
    new.replace(file)


async def test_a_file_that_cannot_be_used_changes_nothing_and_shows_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _, certificate = self_signed_certificate()
    password, ca = tmp_path / "password", tmp_path / "ca.pem"
    password.write_text("hidden-1")
    ca.write_bytes(certificate)
    security = KafkaSecurity("SASL_SSL", "PLAIN", "app", Secret.read(password), tls=TlsSettings(str(ca)))
    used: list[KafkaSecurity] = []
    files = follow_security("kafka_security", security, lambda new: new, used.append, check_s=0.005)

    def refused() -> list[str]:
        return [one.error for one in caplog.records if getattr(one, "action", "") == "credential.refused"]  # type: ignore[attr-defined]

    await files.start()
    replace(ca, b"hidden-2, no certificate")
    await until(lambda: len(refused()) == 1)
    password.unlink()
    await until(lambda: len(refused()) == 2)
    replace(password, b"")  # as while it is written
    await until(lambda: len(refused()) == 3)
    replace(ca, certificate)
    await until(lambda: len(refused()) == 4)
    assert refused()[-1] == "kafka_security: the file of a secret is empty"
    assert not used and not any("hidden" in one for one in refused())
    replace(password, b"hidden-3")
    await until(lambda: len(used) == 1)
    assert used[0] == KafkaSecurity("SASL_SSL", "PLAIN", "app", Secret("hidden-3"), tls=TlsSettings(str(ca)))
    await files.close()
