"""The time to read a record grows with its bytes, whatever they are: one record cannot stop a partition."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from notify_streams.delivery.receipts import read_receipt
from notify_streams.records.trigger import may_be_critical, read_trigger
from notify_streams.records.user_records import read_contacts, read_preference_update, read_signup
from notify_streams.routing.lane import read_trigger_for_lane
from tests.builders import ARecord, categories, trigger_json

CATEGORIES = categories()
#: Each four times the one before; the last is the largest trigger.
SIZES = [4_096, 16_384, 65_536, 262_144]

HEADS = [
    b"",
    b'"',
    b'{"',
    b'{"a":',
    b'{"isCritical": true,"data":"',
    b'{"isCritical"',
    b'{"specversion":"1.0","id":"',
    b'{"id":"t","user_id":"u","category":"payments","isCritical":true,"template":"payment_received",',
    b'{"id":"t","user_id":"u","category":"payments","template":"payment_received","channels":[',
    b'{"id":"t","user_id":"u","category":"payments","template":"payment_received","data":{',
    b'{"user_id":"u","updated_at":"2026-11-22T10:00:00Z","email":"',
]
UNITS = [
    *(
        b'"',
        rb"\"",
        rb"\\",
        b"\\",
        b"[",
        b"]",
        b"{",
        b"}",
        b"[[[]]]",
        b'{"a":',
        b'"push",',
        b'"a":1,',
        b'"":"",',
        b"[],",
    ),
    *(
        b" ",
        b"\n",
        b"9",
        b"0.",
        b"1e9,",
        b"-",
        b"a",
        b"@",
        b"a@",
        b"\xff",
        "é".encode(),
        rb"\u00e9",
        rb"\ud800",
        rb"\u",
    ),
    *(b'"isCritical"', b'"isCritical" ', b'"isCritical":', b":", b",", b"null,", b"true,", b"=", b"AAAA"),
]
TAILS = [b"", b'"', b'"}', b"]}", b"}}", b"[" * 300, b'"' + b"[" * 300, b'"}' + b"}" * 300, b'"a":1}}', b'"push"]}']


def read_as_trigger(value: bytes) -> Any:
    return [
        may_be_critical(value, ()),
        read_trigger_for_lane("critical", ARecord(value), "payments", CATEGORIES, 1 << 20),
        read_trigger_for_lane("standard", ARecord(value), "payments", CATEGORIES, 1 << 20),
    ]


def read_in_base64(value: bytes) -> Any:
    return read_trigger(b'{"specversion":"1.0","id":"e","data_base64":"%b"}' % base64.b64encode(value), ())


def read_as_user_record(value: bytes) -> Any:
    return [
        read_preference_update(value, 0),
        read_contacts(value, 0),
        read_signup(value, 0),
        read_receipt(value, 0),
    ]


READERS: list[Callable[[bytes], Any]] = [read_as_trigger, read_in_base64, read_as_user_record]


def seconds(read: Callable[[Any], Any], value: Any) -> float:
    began = time.thread_time()
    read(value)
    return time.thread_time() - began


def grows_linearly(read: Callable[[Any], Any], value_of: Callable[[int], Any]) -> bool:
    """Four times the size takes at most nine times as long; small times and single slow runs do not count."""
    before = seconds(read, value_of(SIZES[0]))
    for size in SIZES[1:]:
        value = value_of(size)
        limit = max(9 * before, 0.01)
        taken = seconds(read, value)
        if taken > limit:
            taken = min(taken, seconds(read, value), seconds(read, value))
        if taken > limit:
            return False
        before = taken
    return True


@settings(deadline=None)
@given(
    head=st.sampled_from(HEADS),
    units=st.lists(st.sampled_from(UNITS), min_size=1, max_size=3),
    middle=st.sampled_from([b"", *TAILS]),
    more=st.lists(st.sampled_from(UNITS), max_size=2),
    tail=st.sampled_from(TAILS),
)
@example(b'{"isCritical": true,"data":"', [rb"\""], b"[" * 300, [], b"")
@example(b'{"isCritical"', [b" "], b"", [], b"")
def test_the_time_to_read_a_value_grows_with_its_bytes(
    head: bytes, units: list[bytes], middle: bytes, more: list[bytes], tail: bytes
) -> None:
    first, second = b"".join(units), b"".join(more)

    def value_of(size: int) -> bytes:
        return head + first * (size // len(first) // 2) + middle + second * (size // 2 // max(len(second), 1)) + tail

    for read in READERS:
        assert grows_linearly(read, value_of), read.__name__


@pytest.mark.parametrize("name", ["critical", "ce_id", "x"])
def test_the_time_to_read_headers_grows_with_their_number(name: str) -> None:
    value = trigger_json(id=...)

    def read(headers: Any) -> Any:
        return read_trigger_for_lane("critical", ARecord(value, headers=headers), "payments", CATEGORIES, 1 << 20)

    assert grows_linearly(read, lambda size: [(name, b"0")] * (size // 8))


@pytest.mark.parametrize("lane", ["critical", "standard"])
def test_many_members_and_channels_are_read_in_linear_time(lane: Any) -> None:
    def value_of(size: int) -> bytes:
        members = {f"{number * 7919 % size}": [number, {"b": 1, "a": 1.5}] for number in range(size // 40)}
        return trigger_json(isCritical=True, data=members, channels=["sms", "push"] * (size // 40))

    assert grows_linearly(
        lambda value: read_trigger_for_lane(lane, ARecord(value), "payments", CATEGORIES, 1 << 20), value_of
    )
