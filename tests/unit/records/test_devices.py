"""Devices of a person in records, rows and channel messages; they are shown without their tokens."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from notify_streams.records.channel_message import (
    ChannelMessage,
    encode_for,
    encode_for_devices,
    encode_shared,
    for_devices,
    read_channel_message,
)
from notify_streams.records.devices import MAX_DEVICES, Device, shown_devices, stored_devices, token_sha
from notify_streams.records.trigger import Rejection
from notify_streams.records.user_records import Contacts, decode_contact_row, encode_record, read_contacts
from notify_streams.registry.contact_repository import StoredContacts
from tests.builders import contacts
from tests.unit.records.test_channel_messages import a_part

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
LATER_MS = int(NOON.timestamp() * 1000) + 60_000
SUBSCRIPTION = json.dumps(
    {
        "endpoint": "https://push.example.org/1",
        "keys": {
            "p256dh": "BAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            "auth": "A" * 22,
        },
    },
    separators=(",", ":"),
)
PHONE = Device("phone-token-1234", "fcm", "org.example.shop", "de", NOON)
TABLET = Device("a" * 64, "apns")


def read(*devices: Any, **but: Any) -> Contacts | Rejection:
    record = {"user_id": "u", "updated_at": NOON, "devices": devices} | but
    return read_contacts(msgspec.json.encode(record), LATER_MS)


def devices_of(*devices: Any) -> Any:
    found = read(*devices)
    assert isinstance(found, Contacts) and found.push is None
    return found.devices


def test_a_record_with_devices_is_read_as_it_is_handed_on() -> None:
    browser = Device(SUBSCRIPTION, "web_push")
    found = read(PHONE, TABLET, browser)
    assert isinstance(found, Contacts) and found.devices == (PHONE, TABLET, browser)
    assert read_contacts(encode_record(found), LATER_MS) == found


def test_a_token_alone_is_the_short_form() -> None:
    assert read({"token": "t"}) == Contacts("u", NOON, push="t")
    assert read({"token": "t", "app": "", "locale": ""}) == Contacts("u", NOON, push="t")
    assert devices_of({"token": "t", "provider": "fcm"}) == (Device("t", "fcm"),)


def test_no_devices_are_none() -> None:
    assert read() == Contacts("u", NOON)
    assert read(push="t") == Contacts("u", NOON, push="t")


def test_no_device_was_seen_after_its_record() -> None:
    assert devices_of({"token": "t", "last_seen": "9999-12-31T23:59:59-23:59"}) == (Device("t", last_seen=NOON),)


@pytest.mark.parametrize(
    ("devices", "naming"),
    [
        ([{"token": f"t-{number}"} for number in range(MAX_DEVICES + 1)], "limit is 10"),
        ([{"token": "t"}, {"token": "t", "provider": "apns"}], "twice"),
        ([{"provider": "fcm"}], "token"),
        ([{"token": ""}], "token"),
        ([{"token": "t" * 513}], "token"),
        ([{"token": "t\n"}], "token"),
        ([{"token": "{}"}], "token"),
        ([{"token": "t", "provider": "pager"}], "provider"),
        ([{"token": "t", "provider": "web_push"}], "provider"),
        ([{"token": SUBSCRIPTION, "provider": "fcm"}], "provider"),
        ([{"token": "t", "app": "a" * 129}], "app"),
        ([{"token": "t", "app": "a b"}], "app"),
        ([{"token": "t", "app": "a\r\nb"}], "app"),
        ([{"token": "t", "locale": "a" * 36}], "locale"),
        ([{"token": "t", "locale": "d"}], "locale"),
        ([{"token": "t", "last_seen": "1969-12-31T23:59:59Z"}], "last_seen"),
        ([{"token": "t", "last_seen": "2026-11-22T10:00:00"}], "last_seen"),
    ],
)
def test_a_device_that_no_provider_can_reach_is_refused(devices: list[dict[str, Any]], naming: str) -> None:
    found = read(*devices)
    assert isinstance(found, Rejection) and naming in found.detail
    assert "pager" not in found.detail and SUBSCRIPTION not in found.detail


@pytest.mark.parametrize("but", [{"push": "t"}, {"remove": {"push": "t"}}])
def test_devices_are_given_alone(but: dict[str, Any]) -> None:
    found = read(TABLET, **but)
    assert isinstance(found, Rejection) and "devices" in found.detail


def test_a_row_has_what_a_delivery_needs() -> None:
    row = decode_contact_row(StoredContacts(contacts(push=None, devices=(PHONE, TABLET)), 3).row())
    assert row.devices == (msgspec.structs.replace(PHONE, last_seen=None), TABLET)


def test_a_message_to_devices_is_read_as_it_was_written() -> None:
    devices = (msgspec.structs.replace(PHONE, last_seen=None), TABLET)
    shared = encode_shared(a_part(locale="de"))
    found = read_channel_message(encode_for_devices(shared, "n.push", devices))
    to_one = read_channel_message(encode_for(shared, "n.push", "push", ""))
    assert found == msgspec.structs.replace(to_one, devices=devices)
    assert read_channel_message(for_devices(found, devices[1:], reached=False)).devices == (TABLET,)


def test_a_message_to_a_single_token_is_as_it_was_before_devices() -> None:
    shared = encode_shared(a_part())
    assert encode_for(shared, "n.push", "push", "t").startswith(b'{"delivery_id":"n.push","channel":"push","to":"t",')
    assert isinstance(found := read_channel_message(encode_for(shared, "n.push", "push", "t")), ChannelMessage)
    assert found.devices is None


def test_devices_are_shown_without_their_tokens() -> None:
    shown = shown_devices(None, (PHONE, TABLET, Device("short")))
    assert [one["token_end"] for one in shown] == ["1234", "aaaa", ""]
    assert shown[0] == {
        "token_sha": token_sha("phone-token-1234"),
        "token_end": "1234",
        "provider": "fcm",
        "app": "org.example.shop",
        "locale": "de",
        "last_seen": "2026-11-22T12:00:00+00:00",
    }
    assert not [token for token in (PHONE.token, TABLET.token, "short") if token in json.dumps(shown)]
    assert [one["token_sha"] for one in shown_devices("token", None)] == [token_sha("token")]
    assert shown_devices(None, None) == []


def test_a_row_or_a_message_without_any_device_is_refused() -> None:
    """A delivery to none of a person's devices would have no outcome."""
    message = encode_for_devices(encode_shared(a_part()), "d", ())
    with pytest.raises(msgspec.ValidationError):
        read_channel_message(message)
    with pytest.raises(msgspec.ValidationError):
        decode_contact_row(b'{"version":1,"devices":[]}')


def test_a_device_that_only_a_later_release_can_read_hides_no_other() -> None:
    """Such as one of a push provider that this one does not have."""
    phone, tablet = (msgspec.to_builtins(one, builtin_types=(datetime,)) for one in (PHONE, TABLET))
    assert stored_devices([phone, tablet]) == (PHONE, TABLET)
    assert stored_devices([{"token": "h-1", "provider": "hms"}, phone | {"os": "17"}, 7]) == (PHONE,)
