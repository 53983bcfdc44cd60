"""Preference updates, contacts, sign-ups and receipts as any client may send them."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notify_streams.delivery.receipts import Receipt, read_receipt
from notify_streams.records.names import name_fault
from notify_streams.records.outcomes import DeadReason
from notify_streams.records.trigger import Rejection
from notify_streams.records.user_records import (
    MAX_BYTES,
    Contacts,
    Erasure,
    PreferenceUpdate,
    Signup,
    arrival_ms,
    encode_record,
    read_contacts,
    read_erasure,
    read_preference_update,
    read_signup,
)
from notify_streams.registry.user import from_item, from_signup, to_item
from tests.builders import ARecord

ARRIVAL = datetime(2026, 11, 27, 12, tzinfo=UTC)
ARRIVAL_MS = int(ARRIVAL.timestamp() * 1000)
AT = "2026-11-22T10:00:00Z"
UPDATE = {"user_id": "u", "category": "payments", "channel": "push", "opted_in": False, "updated_at": AT}
CONTACTS = {"user_id": "u", "updated_at": AT, "push": "token", "sms": "+15551234567", "email": "a@example.org"}
SIGNUP = {"user_id": "u", "region": "us", "updated_at": AT, "version": 3, "locale": "pt-BR", "time_zone": "Asia/Tokyo"}
RECEIPT = {"delivery_id": "n.push", "state": "delivered", "at": AT}
READERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "update": (read_preference_update, UPDATE),
    "contacts": (read_contacts, CONTACTS),
    "signup": (read_signup, SIGNUP),
    "receipt": (read_receipt, RECEIPT),
}
OFFSETS = st.builds(lambda minutes: timedelta(minutes=minutes), st.integers(-1439, 1439))
OF_USERS = ["update", "contacts", "signup"]


def record_value(fields: Any, **but: Any) -> bytes:
    return json.dumps({name: value for name, value in (fields | but).items() if value is not ...}).encode()


def read(kind: str, **but: Any) -> Any:
    decode, fields = READERS[kind]
    return decode(record_value(fields, **but), ARRIVAL_MS)


def each(name: str, *values: Any) -> list[dict[str, Any]]:
    return [{name: value} for value in values]


def contacts_of(**but: Any) -> Contacts:
    found = read("contacts", **but)
    assert isinstance(found, Contacts)
    return found


def is_refused(found: Any, reason: DeadReason = DeadReason.INVALID, naming: str = "") -> bool:
    return isinstance(found, Rejection) and found.reason is reason and naming in found.detail


@pytest.mark.parametrize("kind", READERS)
def test_a_valid_record_is_read_and_unknown_fields_are_ignored(kind: str) -> None:
    assert isinstance(read(kind, unknown=[1]), PreferenceUpdate | Contacts | Signup | Receipt)


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize(
    "value", [None, b"", b"hello", b"\xff", b'{"x":' * 9_000, b'{"unknown": "\xff"}', b"\xef\xbb\xbf{}"]
)
def test_what_is_not_json_is_refused(kind: str, value: bytes | None) -> None:
    assert is_refused(READERS[kind][0](value, ARRIVAL_MS), DeadReason.NOT_JSON)


@pytest.mark.parametrize("kind", OF_USERS)
@pytest.mark.parametrize(
    "user_id", [..., "", "u" * 129, 7, None, "u\n", "u\0", " u", "u\x85v", "u\u2028v", "u\u00a0"], ids=ascii
)
def test_a_record_names_its_user(kind: str, user_id: Any) -> None:
    assert is_refused(read(kind, user_id=user_id), naming="user_id")


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize(
    "at",
    [
        *(..., None, "", "yesterday", 5, 1_795_776_000_000, "2026-11-22T10:00:00", "0001-01-01T00:00:00+23:59"),
        *("0002-11-30T00:00:00Z", "0000-00-00T00:00:00Z", "1969-12-31T23:59:59Z", "10000-01-01T00:00:00Z"),
    ],
)
def test_a_time_is_rfc_3339_since_1970(kind: str, at: Any) -> None:
    name = "at" if kind == "receipt" else "updated_at"
    assert is_refused(read(kind, **{name: at}), naming=name)


@given(
    kind=st.sampled_from(list(READERS)),
    at=st.datetimes(datetime(1970, 1, 2), datetime(9999, 12, 30), timezones=st.builds(timezone, OFFSETS)),
)
def test_no_record_is_later_than_its_arrival(kind: str, at: datetime) -> None:
    name = "at" if kind == "receipt" else "updated_at"
    found = getattr(read(kind, **{name: at.isoformat()}), name)
    assert found == min(at, ARRIVAL)
    assert found.tzinfo is UTC


@pytest.mark.parametrize("kind", READERS)
def test_the_last_moment_of_the_calendar_is_the_arrival(kind: str) -> None:
    name = "at" if kind == "receipt" else "updated_at"
    assert getattr(read(kind, **{name: "9999-12-31T23:59:59-23:59"}), name) == ARRIVAL


@given(st.integers(-(2**63), 2**63), st.integers(1, 2**41))
def test_an_arrival_is_never_ahead(timestamp: int, now_ms: int) -> None:
    assert 0 < arrival_ms(ARecord(timestamp=timestamp), now_ms) <= now_ms


@pytest.mark.parametrize("kind", READERS)
def test_what_is_handed_on_is_read_as_the_same_record(kind: str) -> None:
    found = read(kind, **{"at" if kind == "receipt" else "updated_at": "2099-01-01T00:00:00Z"})
    assert READERS[kind][0](encode_record(found), ARRIVAL_MS + 60_000) == found


# Contacts


@pytest.mark.parametrize("nothing", ["", None, ...])
@pytest.mark.parametrize("name", ["push", "sms", "email", "locale", "time_zone"])
def test_a_contact_that_is_empty_null_or_absent_is_removed(name: str, nothing: Any) -> None:
    found = contacts_of(**{name: nothing})
    assert getattr(found, name) is None
    assert read_contacts(encode_record(found), ARRIVAL_MS) == found


@pytest.mark.parametrize("value", [None, b""])
def test_a_record_without_a_value_removes_all_contacts(value: bytes | None) -> None:
    assert read_contacts(value, ARRIVAL_MS, "jörg".encode()) == Contacts("jörg", ARRIVAL)


@pytest.mark.parametrize("key", [None, b"", b"\xff", b"u" * 129, b"u\n"])
def test_a_record_without_a_value_names_its_user_in_the_key(key: bytes | None) -> None:
    assert isinstance(read_contacts(None, ARRIVAL_MS, key), Rejection)


@pytest.mark.parametrize(
    "but",
    [
        *each("sms", "5551234567", "+0", "+15550000042\n", 15551234567, " "),
        *each("email", "a@b@c", "a b@c", "nl@example.org\n", '"john.doe"@example.org'),
        *each("push", " ", "tok\n", "tök", "x" * 513, ["token"]),
        *each("locale", "e!", "en\n", "de-", "x" * 36, 5),
        *each("time_zone", "Mars/Olympus", "utc+1", "../UTC", 5),
    ],
)
def test_a_contact_that_no_sender_takes_is_refused_and_not_repeated(but: dict[str, Any]) -> None:
    found = read("contacts", **but)
    assert is_refused(found, naming=next(iter(but)))
    for contact in but.values():
        assert str(contact).strip() == "" or str(contact) not in found.detail


@pytest.mark.parametrize("locale", ["en", "pt-BR", "pt_BR", "zh-Hant-TW"])
def test_contacts_say_how_their_person_reads(locale: str) -> None:
    found = contacts_of(locale=locale, time_zone="America/Sao_Paulo")
    assert (found.locale, found.time_zone) == (locale, "America/Sao_Paulo")


# Preference updates


@pytest.mark.parametrize("but", [{"category": "*"}, {"channel": "*"}, {"category": "*", "channel": "*"}])
def test_a_user_may_opt_out_of_everything_but_not_in(but: dict[str, Any]) -> None:
    assert isinstance(read("update", **but), PreferenceUpdate)
    assert is_refused(read("update", **but, opted_in=True))


@pytest.mark.parametrize(
    "but",
    [
        *each("category", "", "c" * 129),
        *each("channel", "fax", "Push", None),
        *each("opted_in", "false", 0, None, ...),
    ],
)
def test_an_update_that_is_not_plain_is_refused(but: dict[str, Any]) -> None:
    assert is_refused(read("update", **but), naming=next(iter(but)))


def test_an_opt_out_from_a_source_of_a_later_release_counts() -> None:
    """Regions are updated one after the other, and copy choices to each other."""
    found = read("update", source="carrier_list", detail="m-1")
    assert found == read("update", source="app", detail="m-1")
    assert is_refused(read("update", source=7), naming="source")


def test_a_refusal_does_not_repeat_what_was_sent() -> None:
    for text in ("ada@example.org", "ada@example.org' - at", 'ada@example.org"'):
        assert "ada@example.org" not in read("update", channel=text).detail


# Sign-ups


@pytest.mark.parametrize(
    "version", [0, -1, 2**53, 12345678901234567890123456789012345678901, 10**4000, 1.0, True, None]
)
def test_a_version_is_a_positive_integer_that_every_store_holds(version: Any) -> None:
    assert is_refused(read("signup", version=version), naming="version")


@pytest.mark.parametrize(
    "but",
    [
        *each("locale", "", "e", "en\n", "en-" + "x" * 40, "en_US.UTF-8"),
        *each("time_zone", "", "Mars/Olympus", "../etc/passwd", "utc\n"),
        *each("region", "", "r" * 129),
        *each("standby", ""),
    ],
)
def test_a_locale_and_a_time_zone_are_known(but: dict[str, Any]) -> None:
    assert is_refused(read("signup", **but), naming=next(iter(but)))


@given(
    user_id=st.text(min_size=1, max_size=128).filter(lambda text: name_fault("user_id", text) is None),
    version=st.integers(1, 2**53 - 1),
    locale=st.from_regex(r"\A[A-Za-z]{2,8}([-_][A-Za-z0-9]{1,8}){0,3}\Z"),
    at=st.datetimes(datetime(1970, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC)),
)
def test_every_sign_up_that_is_read_is_a_row_of_the_registry(
    user_id: str, version: int, locale: str, at: datetime
) -> None:
    found = read("signup", user_id=user_id, version=version, locale=locale, updated_at=at.isoformat())
    if isinstance(found, Rejection):
        assert len(locale) > 35
        return
    row = from_signup(found)
    assert from_item(to_item(row)) == row


# All of them


def test_a_record_has_a_maximum_size() -> None:
    assert is_refused(read("contacts", more="x" * MAX_BYTES), DeadReason.TOO_LARGE)


_ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@given(
    kind=st.sampled_from(list(READERS)),
    fields=st.dictionaries(st.sampled_from(sorted({*UPDATE, *CONTACTS, *SIGNUP, *RECEIPT})), _ANYTHING),
)
def test_no_field_makes_a_decoder_raise(kind: str, fields: dict[str, Any]) -> None:
    read(kind, **fields)


@given(kind=st.sampled_from(list(READERS)), value=st.binary())
def test_no_bytes_make_a_decoder_raise(kind: str, value: bytes) -> None:
    assert isinstance(READERS[kind][0](value, ARRIVAL_MS), Rejection)


@given(kind=st.sampled_from(list(READERS)), at=st.integers(0, 200), junk=st.binary(max_size=4))
def test_no_change_of_a_few_bytes_makes_a_decoder_raise(kind: str, at: int, junk: bytes) -> None:
    value = record_value(READERS[kind][1])
    READERS[kind][0](value[:at] + junk + value[at + len(junk) :], ARRIVAL_MS)


def test_a_removal_has_no_addresses() -> None:
    found = contacts_of(push=..., sms=..., email=..., remove={"push": "token"})
    assert (found.remove, found.push) == ({"push": "token"}, None)
    assert isinstance(read("contacts", remove={"push": "token"}), Rejection)
    assert isinstance(read("contacts", push=..., sms=..., email=..., remove={"fax": "1"}), Rejection)


def test_an_address_is_no_person_to_erase() -> None:
    for user_id, is_erased in (("address:sms:0a", False), ("addresses", True)):
        value = json.dumps({"user_id": user_id, "updated_at": AT}).encode()
        assert isinstance(read_erasure(value, ARRIVAL_MS), Erasure) is is_erased
