"""A trigger that becomes no notification leaves a note by which it is found."""

from datetime import UTC, datetime
from typing import Any

import pytest

from notify_streams.outbox.decided_batch import RecordOutcome
from notify_streams.outbox.outcome_notes import note_range, notes_of, owner_of_record
from notify_streams.records.outcomes import DeadReason, TriggerOutcome
from notify_streams.routing.outcome_records import dead_letter, forwarded, repartitioned
from tests.builders import NOON, ARecord, a_decided_batch, an_outcome, trigger_json

OWNERS: dict[str, tuple[bytes | None, Any, tuple[str, str]]] = {
    "a trigger": (trigger_json(id="t-1", user_id="u-1"), (), ("t-1", "u-1")),
    "an invalid one": (b'{"id": "t-1", "user_id": "u-1", "category": 5}', (), ("t-1", "u-1")),
    "a CloudEvent": (b'{"specversion": "1.0", "id": "t-1", "data": {"user_id": "u-1"}}', (), ("t-1", "u-1")),
    "a binary CloudEvent": (b'{"user_id": "u-1"}', (("ce_id", b"t-1"),), ("t-1", "u-1")),
    "cut JSON": (b'{"id": "t-1", "user_id": "u-1", "ti', (), ("t-1", "u-1")),
    "an id of another type": (b'{"id": 7, "user_id": ["u-1"]}', (), ("", "")),
    "a list": (b"[]", (), ("", "")),
    "no text": (b"\xff\xfe", (), ("", "")),
    "nothing": (None, (), ("", "")),
}


@pytest.mark.parametrize(("value", "headers", "owner"), OWNERS.values(), ids=OWNERS)
def test_whose_a_record_is_is_read_as_far_as_possible(
    value: bytes | None, headers: Any, owner: tuple[str, str]
) -> None:
    assert owner_of_record(ARecord(value, headers=headers)) == owner


def test_a_note_says_what_became_of_the_record_and_where_it_lay() -> None:
    headers = (("source", b"triggers.payments:1:5"), ("origin_ms", b"1000"), ("replayed", b"1:7"))
    record = ARecord(trigger_json(id="t-1", user_id="u-1"), headers=headers, offset=17, timestamp=2_000)
    dead = dead_letter(record, "triggers.payments", 3, DeadReason.UNKNOWN_USER, "no such user")
    (note,) = notes_of([a_decided_batch(dead)], NOON)
    bounds = note_range("t-1")
    assert bounds["$gte"] < note.pop("_id") < bounds["$lt"]
    assert note == {
        "bucket": 3,
        "outcome": "dead",
        "topic": "triggers.payments",
        "offset": 17,
        "entered_at": datetime.fromtimestamp(2, UTC),
        "at": NOON,
        "trigger_id": "t-1",
        "user_id": "u-1",
        "system": "payments",
        "reason": "unknown_user",
        "detail": "no such user",
        "copy": {
            "copied_from": "triggers.payments:1:5",
            "origin_at": datetime.fromtimestamp(1, UTC),
            "replayed_from": "1:7",
        },
    }


def test_only_dead_forwarded_and_duplicate_triggers_have_notes() -> None:
    record = ARecord(trigger_json(id="t-1", user_id="u-1"))
    entries = [
        an_outcome("notified"),
        forwarded(record, "triggers.payments", 3, "u-1", "eu", ()),
        repartitioned(record, "triggers.payments", 3, 5, "u-1"),
        RecordOutcome(TriggerOutcome.DUPLICATE, record),
        dead_letter(ARecord(b"?"), "triggers.payments", 3, DeadReason.NOT_JSON, "not JSON"),
    ]
    notes = list(notes_of([a_decided_batch(*entries)], NOON))
    assert [(note["outcome"], note.get("region")) for note in notes] == [("forwarded", "eu"), ("duplicate", None)]
    # A repeated import of sign-ups is none of a trigger.
    assert not list(notes_of([a_decided_batch(entries[3], topic="user_signups")], NOON))


@pytest.mark.parametrize("header", [b"triggers.payments:1", b"x" * 300 + b":1:1", b"<b>:1:2", b"t:1:2\n", b"\xff:1:2"])
def test_a_header_that_has_not_the_form_of_a_place_is_left_out(header: bytes) -> None:
    headers = (("source", header), ("replayed", header))
    dead = dead_letter(ARecord(trigger_json(), headers=headers), "t", 3, DeadReason.INVALID, "why")
    (note,) = notes_of([a_decided_batch(dead)], NOON)
    assert "copy" not in note
