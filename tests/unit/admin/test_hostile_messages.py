"""Records on a channel topic that no router wrote end no audit."""

from __future__ import annotations

import pytest

from notify_streams.admin.audit.region import message_row
from notify_streams.admin.audit.snapshot import RegionSnapshot
from tests.builders import ARecord

HEADERS = (("id", b"t-1.push"),)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        None,
        b"no JSON",
        b"[" * 100_000,
        b'{"decided_at": "0001-01-01T00:00:00"}',
        b'{"decided_at": "0001-01-01T00:00:00+14:00"}',
        b'{"decided_at": "9999-12-31T23:59:59-14:00"}',
        b'{"decided_at": "2026-11-30T00:00:00Z", "source_topic": "triggers.payments", "source_offset": 18446744073709551615}',
        b'{"source_topic": "\xff"}',
    ],
    ids=lambda value: str(value)[:40],
)
def test_whatever_lies_on_a_channel_topic_is_a_message(value: bytes | None) -> None:
    row = message_row(RegionSnapshot("us"), "push", 0, ARecord(value, headers=HEADERS, timestamp=1))
    assert row is not None and row.id == "t-1.push"


def test_a_record_without_an_id_is_one_too() -> None:
    row = message_row(RegionSnapshot("us"), "push", 0, ARecord(b"{}", headers=[("id", None)]))
    assert row is not None and row.id == ""
