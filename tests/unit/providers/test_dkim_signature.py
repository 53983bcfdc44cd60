"""dkimpy verifies each signature with the public key, and refuses each change of what is signed."""

from __future__ import annotations

import subprocess
import time
from base64 import b64encode
from functools import cache

import dkim
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given
from hypothesis import strategies as st

from notify_streams.delivery.providers import check_credentials
from notify_streams.delivery.providers.dkim_signature import SIGNED, DkimSigner
from notify_streams.delivery.providers.mime import mime_message
from notify_streams.delivery.providers.provider import Outgoing
from notify_streams.errors import SettingsError
from notify_streams.followed_files import BadCredential
from notify_streams.secret import Secret
from notify_streams.settings_providers import ProviderSettings

SEED = bytes(range(32))
ED25519 = ed25519.Ed25519PrivateKey.from_private_bytes(SEED)
IN_BASE64 = b64encode(SEED).decode()


@cache
def an_rsa_key(bits: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)


def pem(
    key: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey,
    form: PrivateFormat = PrivateFormat.PKCS8,
    encryption: KeySerializationEncryption | None = None,
) -> str:
    return key.private_bytes(Encoding.PEM, form, encryption or NoEncryption()).decode()


def dns(name: bytes, timeout: int = 5) -> bytes:
    """The public keys as they are in DNS."""
    if name == b"one.mail._domainkey.xn--bcher-kva.example.":
        der = an_rsa_key(2048).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return b"v=DKIM1; k=rsa; p=" + b64encode(der)
    assert name == b"ed._domainkey.example.org."
    return b"v=DKIM1; k=ed25519; p=" + b64encode(ED25519.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))


def a_mail(
    title: str | None = "Zahlung über 12,50 €", body: str = "Sie haben  Geld.\n\n", unsubscribe: str | None = None
) -> bytes:
    message = Outgoing(
        delivery_id="d-1",
        notification_id="n-1",
        channel="email",
        to="müller@example.com",
        title=title,
        body=body,
        unsubscribe=unsubscribe,
    )
    return mime_message(message, "notify@example.org", time.time())


def verified(mail: bytes) -> bool:
    return bool(dkim.verify(mail, dnsfunc=dns))


LINK = "https://notify.example.org/unsubscribe/" + "t" * 300
SIGNER = DkimSigner("example.org", "ed", Secret(IN_BASE64))


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL], ids=["PKCS 8", "PKCS 1"])
def test_a_mail_that_is_signed_with_rsa_verifies(form: PrivateFormat) -> None:
    signer = DkimSigner("bücher.example", "one.mail", Secret(pem(an_rsa_key(2048), form)))
    assert verified(signer.signed(a_mail(), time.time()))


@pytest.mark.parametrize("key", [IN_BASE64, f" {IN_BASE64[:20]}\n{IN_BASE64[20:]}\n", pem(ED25519)])
def test_each_form_of_an_ed25519_key_signs(key: str) -> None:
    assert verified(DkimSigner("example.org", "ed", Secret(key)).signed(a_mail(), time.time()))


@given(
    st.none() | st.text(max_size=200),
    st.text(max_size=500) | st.text(st.sampled_from(" \t\r\n.x"), max_size=60),
)
def test_a_mail_of_any_text_verifies(title: str | None, body: str) -> None:
    try:
        mail = a_mail(title, body)
    except UnicodeEncodeError:
        return
    assert verified(SIGNER.signed(mail, time.time()))


@pytest.mark.parametrize("name", SIGNED)
def test_a_changed_header_does_not_verify(name: str) -> None:
    mail = SIGNER.signed(a_mail("Hello", unsubscribe=LINK), time.time())
    assert verified(mail)
    head, _, body = mail.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    (at,) = [number for number, line in enumerate(lines) if line.lower().startswith(name.encode() + b":")]
    lines[at] += b"x"
    assert not verified(b"\r\n".join(lines) + b"\r\n\r\n" + body)


@pytest.mark.parametrize("name", [b"List-Unsubscribe", b"List-Unsubscribe-Post"])
def test_the_headers_of_a_link_are_signed(name: bytes) -> None:
    mail = SIGNER.signed(a_mail(unsubscribe=LINK), time.time())
    assert b"\r\n%b: " % name in mail
    assert not verified(mail.replace(b"\r\n%b: " % name, b"\r\n%b: x" % name))


def test_a_link_cannot_be_added_to_a_signed_mail() -> None:
    mail = SIGNER.signed(a_mail(), time.time())
    assert not verified(b"List-Unsubscribe: <https://example.com/>\r\n" + mail)


def test_a_second_sender_or_another_body_does_not_verify() -> None:
    mail = SIGNER.signed(a_mail(), time.time())
    assert verified(mail)
    assert not verified(b"From: other@example.com\r\n" + mail)
    assert not verified(mail.replace(b"\r\n\r\n", b"\r\n\r\nA"))


def test_the_signature_adds_one_header_of_short_lines() -> None:
    mail = a_mail()
    signed = DkimSigner("bücher.example", "one.mail", Secret(pem(an_rsa_key(2048)))).signed(mail, 17.5)
    assert signed.endswith(b"\r\n" + mail)
    first, *others = signed.removesuffix(b"\r\n" + mail).split(b"\r\n")
    assert first == b"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;"
    assert all(line.startswith(b" ") and len(line) <= 78 for line in others)
    assert b" t=17;" in signed


BAD_KEYS = {
    "no key": "hush-hush",
    "a short key": b64encode(SEED[:31]).decode(),
    "a cut PEM": pem(ED25519)[:60],
    "a key with a password": pem(ED25519, encryption=BestAvailableEncryption(b"p")),
    "a key of another kind": pem(ec.generate_private_key(ec.SECP256R1())),
    "a public key": ED25519.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode(),
    "empty": "",
}


@pytest.mark.parametrize("key", BAD_KEYS.values(), ids=BAD_KEYS)
def test_a_key_that_cannot_be_read_is_a_sentence_without_the_key(key: str) -> None:
    with pytest.raises(BadCredential, match=r"^providers\.dkim_key cannot be read: give a private RSA") as refusal:
        DkimSigner("example.org", "s", Secret(key))
    assert "\n" not in str(refusal.value)
    assert refusal.value.__cause__ is None and refusal.value.__context__ is None
    assert not key or key not in str(refusal.value)


def test_a_mail_worker_does_not_start_with_a_key_that_cannot_be_read() -> None:
    settings = ProviderSettings(dkim_domain="example.org", dkim_selector="s", dkim_key=Secret("hush"))
    settings = msgspec.structs.replace(settings, smtp="smtp://127.0.0.1:1", mail_sender="a@example.org")
    with pytest.raises(SettingsError, match=r"^providers\.dkim_key cannot be read: [^\n]*$"):
        check_credentials(settings, "email")


def test_an_rsa_key_that_receivers_refuse_is_refused() -> None:
    key = subprocess.run(["openssl", "genrsa", "768"], check=True, capture_output=True, text=True).stdout
    with pytest.raises(BadCredential, match="768 bits"):
        DkimSigner("example.org", "s", Secret(key))


@pytest.mark.parametrize(
    ("domain", "selector", "what"),
    [
        ("example .org", "s", "dkim_domain"),
        ("", "s", "dkim_domain"),
        ("a.org; x=1", "s", "dkim_domain"),
        ("a.org", "a;b", "dkim_selector"),
        ("a.org", "", "dkim_selector"),
        ("a.org", "a\r\nB: c", "dkim_selector"),
    ],
)
def test_a_domain_or_selector_that_is_none_is_refused(domain: str, selector: str, what: str) -> None:
    with pytest.raises(BadCredential, match=what):
        DkimSigner(domain, selector, Secret(IN_BASE64))
