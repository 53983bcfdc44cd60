"""What services refuse: what `/ready` says and for how long; what is done about a certificate."""

import ssl
import time

import pytest

from notify_streams import refusals
from notify_streams.web.health import health


def test_a_refusal_is_said_until_it_was_not_repeated_for_half_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.monotonic() + 1_000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    refusals.note("Kafka", "Kafka at a:1 refuses")
    assert refusals.recent() == ["Kafka at a:1 refuses"]
    assert not health([], None, is_ready=True, tables=[], waiting_for=refusals.recent()).ready
    now += 29
    assert refusals.recent() == ["Kafka at a:1 refuses"]
    now += 2
    assert refusals.recent() == []


def test_many_refusals_are_bounded() -> None:
    for number in range(1_000):
        refusals.note("MongoDB", f"refusal {number}")
    assert len(refusals.recent()) == 50 and "refusal 999" in refusals.recent()


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ("certificate has expired (_ssl.c:1)", "certificate has expired: renew it at the server"),
        ("certificate is not yet valid (_ssl.c:1)", "check the clocks"),
        ("Hostname mismatch, certificate is not valid for 'a'. (_ssl.c:1)", "for 'a': connect to a name that is in it"),
        ("self-signed certificate in certificate chain (_ssl.c:1)", "set redis_security.tls.ca_file"),
    ],
    ids=["expired", "early", "host", "authority"],
)
def test_a_certificate_is_refused_with_what_to_do(error: str, words: str) -> None:
    text = str(ssl.SSLCertVerificationError(1, f"[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: {error}"))
    assert words in (refusals.certificate_problem(text, "redis_security") or "")


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        ("[SSL: TLSV1_ALERT_UNKNOWN_CA] tlsv1 alert unknown ca (_ssl.c:1)", "unknown ca"),
        ("[SSL: SSLV3_ALERT_CERTIFICATE_EXPIRED] sslv3 alert certificate expired (_ssl.c:1)", "certificate expired"),
        (
            "[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED] tlsv13 alert certificate required (_ssl.c:1)",
            "certificate required",
        ),
    ],
    ids=["authority", "expired", "missing"],
)
def test_a_refused_client_certificate_is_named(error: str, problem: str) -> None:
    assert refusals.certificate_problem(error, "kafka_security") == (
        f"refuses the client's certificate ({problem}): check kafka_security.tls.certificate_file"
    )


def test_another_error_speaks_of_no_certificate() -> None:
    assert refusals.certificate_problem("Connection reset by peer", "kafka_security") is None
