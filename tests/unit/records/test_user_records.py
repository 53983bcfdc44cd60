"""Preference updates, contacts, sign-ups and locations as any client may send them."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notify_streams.records.outcomes import DeadReason
from notify_streams.records.trigger import Rejection
from notify_streams.records.user_records import (
    MAX_BYTES,
    read_contacts,
    read_preference_update,
    read_signup,
)

AT = "2026-11-22T10:00:00Z"
UPDATE = {"user_id": "u", "category": "payments", "channel": "push", "opted_in": False, "updated_at": AT}
CONTACTS = {"user_id": "u", "updated_at": AT, "push": "token", "sms": "+15551234567", "email": "a@example.org"}
SIGNUP = {"user_id": "u", "region": "us", "updated_at": AT}
READERS = {
    "update": (read_preference_update, UPDATE),
    "contacts": (read_contacts, CONTACTS),
    "signup": (read_signup, SIGNUP),
}


def said(fields: Any, **but: Any) -> bytes:
    return json.dumps({name: value for name, value in (fields | but).items() if value is not ...}).encode()


@pytest.mark.parametrize("name", READERS)
def test_what_is_whole_is_read(name: Any) -> None:
    read, fields = READERS[name]
    found = read(said(fields, unknown=[1]))
    assert not isinstance(found, Rejection) and found.user_id == "u"


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("value", [None, b"", b"hello", b"\xff", b"[" * 100_000])
def test_what_is_no_json_is_refused(name: Any, value: Any) -> None:
    found = READERS[name][0](value)
    assert isinstance(found, Rejection) and found.reason in (DeadReason.NOT_JSON, DeadReason.TOO_LARGE)


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize(
    "user_id", [..., "", "u" * 129, 7, "u\n", "u\0", " u", "u\x85v", "u\u2028v", "u\u00a0"], ids=ascii
)
def test_a_record_names_its_person(name: Any, user_id: Any) -> None:
    read, fields = READERS[name]
    found = read(said(fields, user_id=user_id))
    assert isinstance(found, Rejection) and found.reason == DeadReason.INVALID and "user_id" in found.detail


@pytest.mark.parametrize("name", ["update", "contacts", "signup"])
@pytest.mark.parametrize(
    "at",
    [..., None, "", "yesterday", 5, "2026-11-22T10:00:00", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"],
)
def test_a_time_is_one_that_a_database_can_hold(name: str, at: Any) -> None:
    """The ends of the calendar, with an offset, stopped the store."""
    read, fields = READERS[name]
    found = read(said(fields, updated_at=at))
    assert isinstance(found, Rejection) and "updated_at" in found.detail


@pytest.mark.parametrize(
    "but",
    [{"sms": "5551234567"}, {"sms": "+0"}, {"email": "a@b@c"}, {"email": "a b@c"}, {"push": ""}, {"push": "x" * 513}],
)
def test_a_contact_that_is_none_is_refused_and_not_repeated(but: Any) -> None:
    found = read_contacts(said(CONTACTS, **but))
    assert isinstance(found, Rejection) and found.reason == DeadReason.INVALID
    for contact in filter(None, but.values()):
        assert contact not in found.detail


def test_a_record_has_an_end() -> None:
    found = read_contacts(said(CONTACTS, more="x" * MAX_BYTES))
    assert isinstance(found, Rejection) and found.reason == DeadReason.TOO_LARGE


@given(
    name=st.sampled_from(list(READERS)),
    fields=st.dictionaries(
        st.sampled_from(["user_id", "region", "updated_at", "category", "channel", "opted_in", "push", "sms", "email"]),
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.none()),
    ),
)
def test_reading_never_raises(name: Any, fields: Any) -> None:
    read, usual = READERS[name]
    read(said(usual, **fields))


@given(name=st.sampled_from(list(READERS)), value=st.binary())
def test_reading_bytes_never_raises(name: Any, value: bytes) -> None:
    assert isinstance(READERS[name][0](value), Rejection)
