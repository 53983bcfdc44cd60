"""What is taken as a contact is what a sender can use."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notify_streams.records.addresses import is_mail_address, is_phone_number, is_push_token, mailbox

#: Classes of addresses as in the tests of isemail, an RFC 5321/5322 validator: those that are one plain mailbox, and the others.
MAILBOXES = [
    "test@iana.org",
    "test@nominet.org.uk",
    "a@iana.org",
    "test@e.com",
    "test.test@iana.org",
    "!#$%&'*+/=?^_`{|}~-@iana.org",
    "123@iana.org",
    "test@123.com",
    "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghiklm@iana.org",
    "test@mason-dixon.com",
    "test@c--n.com",
    "test@xn--hxajbheg2az3al.xn--jxalpdlp",
    "test@iana.co-uk",
    "test@io",
    "a@" + "a" * 63 + ".org",
    "user@bücher.example",
    "user@例え.jp",
    "jörg@müller.example",
    "o'hara@example.org",
]
OTHERS = [
    *("", " ", "@", "test", "test@", "@io", "@iana.org", "no-domain", "a@b@c", "test@@iana.org"),
    *(".test@iana.org", "test.@iana.org", "test..iana.org", "test..test@iana.org", "test_exa-mple.com"),
    *("test\\@test@iana.org", "(comment)test@iana.org", "test@(comment)iana.org", "test(comment)@iana.org"),
    *('"test"@iana.org', '""@iana.org', '"test test"@iana.org', '"te\\"st"@iana.org', 'test"text"@iana.org'),
    *("test@-iana.org", "test@iana-.com", "test@.iana.org", "test@iana.org.", "test@iana..com", "test@iana.org-"),
    *("test@[255.255.255.255]", "test@[IPv6:1111:2222::8888]", "test@[RFC-5322-domain-literal]"),
    *(" test@iana.org", "test @iana.org", "test@ iana.org", "test@iana.org ", "test@iana.org\n", "\r\n test@iana.org"),
    *("test@iana.org\r", "te\x00st@iana.org", "test\x07@iana.org", "test@ian\x7fa.org", "test@iana.org\u2028"),
    *(
        "a,b@example.org",
        "a;b@example.org",
        "a:b@example.org",
        "<a@example.org>",
        "A <a@example.org>",
        "a b@example.org",
    ),
    *("a@example.org, b@example.org", "a@example.org\r\nBcc: b@example.org", "a@example.org> RCPT TO:<b@example.org"),
    *("x" * 65 + "@iana.org", "a@" + "a" * 64 + ".org", "ü" * 33 + "@iana.org", "a@" + "a." * 126 + "aa"),
    *(
        "a@\u00ad.org",
        "a@ex_ample.org",
        "a\u00a0b@example.org",
        "a\u200bb@example.org",
        "\ud800@example.org",
        "a@\ud800.org",
    ),
]


@pytest.mark.parametrize("text", MAILBOXES)
def test_a_plain_mailbox_is_a_mail_address(text: str) -> None:
    assert is_mail_address(text)


@pytest.mark.parametrize("text", OTHERS)
def test_anything_else_is_no_mail_address(text: str) -> None:
    assert not is_mail_address(text)


def test_a_domain_is_written_in_ascii() -> None:
    assert mailbox("user@bücher.example") == "user@xn--bcher-kva.example"
    assert mailbox("user@Straße.example") == "user@xn--strae-oqa.example", "not the domain strasse.example"
    assert mailbox("User@Example.ORG") == "User@Example.ORG"


@given(st.text(), st.text())
def test_a_mailbox_is_one_line_without_separators(local: str, domain: str) -> None:
    found = mailbox(f"{local}@{domain}")
    if found is not None:
        assert found.partition("@")[2].isascii()
        assert len(found.encode()) <= 254
        assert not set(found) & set(' \t\r\n\0<>()[],;:\\"')


@pytest.mark.parametrize("text", ["+15550000042", "+4915112345678", "+123456", "+123456789012345"])
def test_a_phone_number_is_e164(text: str) -> None:
    assert is_phone_number(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "15550000042",
        "+0",
        "+05550000042",
        "+12345",
        "+1234567890123456",
        "+1555 000",
        "+15550000042\n",
        "+١٢٣٤٥٦٧٨",
    ],
)
def test_anything_else_is_no_phone_number(text: str) -> None:
    assert not is_phone_number(text)


@given(st.text(max_size=600).filter(lambda text: not text.startswith("{")))
def test_a_push_token_is_printable_ascii(text: str) -> None:
    assert is_push_token(text) == (text.isascii() and text.isprintable() and " " not in text and 0 < len(text) <= 512)
