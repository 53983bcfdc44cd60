"""The table `contacts` takes only rows that can be read, and never an older one."""

from __future__ import annotations

import msgspec
import pytest

from notify_streams.records.user_records import ContactRow, newest_contact_row

HELD = msgspec.json.encode(ContactRow(5, push="a"))


@pytest.mark.parametrize(
    ("value", "taken"),
    [
        (msgspec.json.encode(ContactRow(5, push="b")), True),
        (msgspec.json.encode(ContactRow(6)), True),
        (msgspec.json.encode(ContactRow(4, push="b")), False),
        (None, True),
        (b"", False),
        (b"{}", False),
        (b'{"version":7,"push":1}', False),
        (b"\xff", False),
        (b"[" * 100_000, False),
    ],
    ids=["same", "newer", "older", "tombstone", "empty", "no version", "wrong type", "not UTF-8", "deep"],
)
def test_a_row_is_taken_or_left_out(value: bytes | None, taken: bool) -> None:
    assert newest_contact_row(lambda *_: HELD)(b"k", value, 0) == ((b"k", value) if taken else None)
