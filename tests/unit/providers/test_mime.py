"""Mails contain the message, and no text of it can add a header."""

from __future__ import annotations

import re
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notify_streams.delivery.providers.mime import message_id, mime_message
from notify_streams.delivery.providers.provider import Outgoing

EXPECTED = {
    *("From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "MIME-Version"),
    *("Content-Type", "Content-Transfer-Encoding"),
    *("X-Notify-Delivery-Id", "X-Notify-Notification-Id", "X-Notify-Attempt"),
}


def read(raw: bytes) -> EmailMessage:
    mail = message_from_bytes(raw, policy=default)
    assert isinstance(mail, EmailMessage)
    return mail


def mail_of(**but: Any) -> Outgoing:
    fields = {"delivery_id": "d-1", "notification_id": "n-1", "channel": "email", "to": "a@example.org", "body": "hi"}
    return Outgoing(**{**fields, **but})


@given(title=st.text(max_size=300), delivery_id=st.text(min_size=1, max_size=200), body=st.text(max_size=2000))
def test_no_text_can_add_or_end_headers(title: str, delivery_id: str, body: str) -> None:
    try:
        (title + delivery_id + body).encode()
    except UnicodeEncodeError:
        return
    raw = mime_message(mail_of(title=title, delivery_id=delivery_id, body=body), "from@example.org", 0.0)
    head, _, _ = raw.partition(b"\r\n\r\n")
    names = [line.partition(b":")[0].decode() for line in head.split(b"\r\n") if not line.startswith(b" ")]
    assert sorted(names) == sorted(EXPECTED)
    assert b"\n" not in head.replace(b"\r\n", b"")
    assert b"\r" not in head.replace(b"\r\n", b"")
    assert all(len(line) <= 998 for line in raw.split(b"\r\n"))


@pytest.mark.parametrize(
    "title",
    ["Bcc\r\nBcc: x@example.org", "a\nX: y", "a\rX: y", "a\x0bX", "a\u2028X: y", "a\x85X: y", "\r\n\r\nbody"],
)
def test_line_ends_in_a_subject_become_spaces(title: str) -> None:
    mail = read(mime_message(mail_of(title=title), "from@example.org", 0.0))
    assert mail["Bcc"] is None and mail["X"] is None
    assert set(mail.keys()) == EXPECTED


@pytest.mark.parametrize("title", ["Zahlung über 12,50 €", "🎉 " * 60, "long " * 60, "=?utf-8?q?not_encoded?="])
def test_a_subject_is_not_changed(title: str) -> None:
    assert read(mime_message(mail_of(title=title.strip()), "from@example.org", 0.0))["Subject"] == title.strip()


@pytest.mark.parametrize("body", ["plain", "über\nzwei Zeilen", ".\n..\nleading dots", "x" * 3000, "a\rb\r\nc\nd"])
def test_a_body_is_not_changed(body: str) -> None:
    decoded = read(mime_message(mail_of(body=body), "from@example.org", 0.0)).get_content()
    assert decoded.splitlines() == body.splitlines()


def test_without_a_title_the_subject_is_the_beginning_of_the_body() -> None:
    assert (
        read(mime_message(mail_of(body="Your code\nis 1234"), "from@example.org", 0.0))["Subject"]
        == "Your code is 1234"
    )


def test_the_delivery_metadata_is_in_headers() -> None:
    message = mail_of(attempt=3, possible_duplicate=True, critical=True, decided_at_ms=17)
    mail = read(mime_message(message, "from@example.org", 0.0))
    assert mail["X-Notify-Delivery-Id"] == "d-1"
    assert mail["X-Notify-Attempt"] == "3"
    assert mail["X-Notify-Possible-Duplicate"] == "1"
    assert mail["X-Notify-Critical"] == "1"
    assert mail["X-Notify-Decided-At"] == "17"


def test_the_message_id_depends_on_the_delivery_alone() -> None:
    first, again = (mime_message(mail_of(attempt=n), "from@example.org", float(n)) for n in (1, 2))
    assert read(first)["Message-ID"] == read(again)["Message-ID"] == message_id("d-1", "from@example.org")
    assert message_id("a/b", "from@example.org") != message_id("a_b", "from@example.org")


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=200))
def test_a_message_id_is_short_whatever_the_delivery_id(delivery_id: str) -> None:
    assert re.fullmatch(
        r"<[0-9a-f]{32}@xn--bcher-kva\.example>", message_id(delivery_id, "müller@xn--bcher-kva.example")
    )


def parts_of(mail: EmailMessage) -> dict[str, str]:
    return {part.get_content_type(): part.get_content() for part in mail.iter_parts()}


@given(
    body=st.text(st.characters(codec="utf-8"), max_size=500), html=st.text(st.characters(codec="utf-8"), max_size=500)
)
def test_a_mail_with_html_has_both_parts(body: str, html: str) -> None:
    mail = read(mime_message(mail_of(title="T", body=body, html=html), "from@example.org", 0.0))
    assert mail.get_content_type() == "multipart/alternative" and set(mail.keys()) == EXPECTED - {
        "Content-Transfer-Encoding"
    }
    found = parts_of(mail)
    assert [*found] == ["text/plain", "text/html"], "programs show the last one that they can"
    for kind, written in (("text/plain", body), ("text/html", html)):
        lines = re.split(r"\r\n|\r|\n", written)
        assert re.split(r"\r\n|\r|\n", found[kind]) in (lines, [*lines, ""])


def test_a_text_that_repeats_an_earlier_boundary_ends_no_part() -> None:
    first = mime_message(mail_of(html="<p>hi</p>"), "from@example.org", 0.0)
    (boundary,) = re.findall(rb'boundary="([0-9a-f]+)"', first)
    forged = f"hi\n--{boundary.decode()}--\n--{boundary.decode()}\nContent-Type: text/html\n\n<b>forged</b>"
    found = parts_of(read(mime_message(mail_of(body=forged, html="<p>hi</p>"), "from@example.org", 0.0)))
    assert [*found] == ["text/plain", "text/html"]
    assert found["text/html"].strip() == "<p>hi</p>"


def test_every_attempt_is_the_same_mail() -> None:
    mails = [mime_message(mail_of(html="<p>hi</p>"), "from@example.org", 0.0) for _ in range(2)]
    assert mails[0] == mails[1]


def test_a_mail_that_can_be_turned_off_has_the_headers_of_rfc_8058() -> None:
    link = "https://notify.example.org/unsubscribe/" + "t" * 300
    mail = read(mime_message(mail_of(unsubscribe=link), "from@example.org", 0.0))
    assert mail["List-Unsubscribe"] == f"<{link}>"
    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert set(mail.keys()) == EXPECTED | {"List-Unsubscribe", "List-Unsubscribe-Post"}


def test_a_link_longer_than_a_line_is_left_out() -> None:
    raw = mime_message(mail_of(unsubscribe="https://notify.example.org/" + "t" * 998), "from@example.org", 0.0)
    assert set(read(raw).keys()) == EXPECTED
