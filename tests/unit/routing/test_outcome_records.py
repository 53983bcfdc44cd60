"""What is written for each way a trigger can end."""

import json
import zlib
from datetime import timedelta
from random import Random
from typing import Any

import bson
import msgspec
import pytest
from bson.codec_options import CodecOptions
from hypothesis import given
from hypothesis import strategies as st

from notify_streams.records.batch import record_size
from notify_streams.records.channel_message import read_channel_message
from notify_streams.records.devices import Device
from notify_streams.records.ids import delivery_id, notification_id
from notify_streams.records.origin import origin_ms
from notify_streams.records.outcomes import DeadReason, DeliveryState, Reason, TriggerOutcome
from notify_streams.records.trigger import Trigger, read_trigger
from notify_streams.records.user_records import ContactRow
from notify_streams.routing.decision import ChannelDecision
from notify_streams.routing.notification_codec import NotificationEncoder
from notify_streams.routing.outcome_records import (
    dead_letter,
    fingerprint,
    forwarded,
    notified,
    repartitioned,
)
from tests.builders import NOON, ARecord, a_trigger, an_outcome, document_of, trigger_fields, trigger_json

UTC_TIMES: CodecOptions[Any] = CodecOptions(tz_aware=True)
RECORD = ARecord(b"original", b"key", (("traceparent", b"00-1"), ("x", b"\xff"), ("y", None)), offset=17)


def test_a_dead_letter_is_the_original_and_says_why_and_where_from() -> None:
    entry = dead_letter(RECORD, "triggers.payments", 3, DeadReason.INVALID, "no user")
    assert (entry.outcome, entry.reason, entry.document) == (TriggerOutcome.DEAD, "invalid", None)
    ((topic, partition, key, value, headers),) = entry.outputs
    assert (topic, partition, key, value) == ("dead_letters", 3, b"key", b"original")
    assert headers[:3] == RECORD.headers
    assert dict(headers[3:]) == {
        "reason": b"invalid",
        "detail": b"no user",
        "topic": b"triggers.payments",
        "partition": b"3",
        "offset": b"17",
    }


@pytest.mark.parametrize("text", ["x" * 10_000, "\U0001f600" * 10_000])
def test_a_detail_has_an_end(text: Any) -> None:
    ((*_, headers),) = dead_letter(RECORD, "t", 3, DeadReason.INVALID, text).outputs
    assert len(dict(headers)["detail"]) <= 2_000


def test_names_of_headers_count_in_bytes() -> None:
    """Four bytes a character: such a dead letter was larger than its topic takes, and lost where it came from."""
    record = ARecord(b"v", b"key", (("\U0001f600" * 3, b"12"), ("ä", None), ("a", b"")), offset=7)
    assert record_size(record) == 1 + 3 + 14 + 2 + 1
    (output,) = dead_letter(
        ARecord(b"v" * 4_000, headers=(("\U0001f600" * 300, b""),)), "t", 3, DeadReason.TOO_LARGE, "", 5_000
    ).outputs
    assert "cut to its first" in dict(output[4])["detail"].decode() and len(output[3]) < 5_000


def test_a_dead_letter_without_a_value_is_no_tombstone() -> None:
    ((*_, value, _),) = dead_letter(ARecord(None), "t", 3, DeadReason.NOT_JSON, "").outputs
    assert value == b""


def test_a_dead_letter_of_what_no_topic_takes_is_its_beginning_and_says_so() -> None:
    record = ARecord(b"v" * 5_000_000, b"k" * 5_000, (("x", b"h" * 5_000_000),), offset=17)
    ((_, _, key, value, headers),) = dead_letter(record, "t", 3, DeadReason.TOO_LARGE, "too large", 2_000_000).outputs
    assert key is not None and record.key is not None and record.value is not None
    assert len(key) + len(value) <= 2_000_000
    assert record.key.startswith(key) and record.value.startswith(value)
    why = dict(headers)
    assert len(headers) == 5 and why["offset"] == b"17"
    assert why["detail"].decode() == f"too large; cut to its first {len(value)} bytes, without headers"


def test_a_moved_record_is_the_same_with_the_key_that_it_needed() -> None:
    entry = repartitioned(ARecord(b"v", None, (("x", b"1"),), offset=17), "triggers.security", 3, 5, "u-42")
    headers = (("x", b"1"), ("source", b"triggers.security:3:17"), ("origin_ms", b"0"))
    assert entry.outputs == (("triggers.security", 5, b"u-42", b"v", headers),)
    assert (entry.outcome, entry.document) == (TriggerOutcome.REPARTITIONED, None)


def test_a_forwarded_record_goes_to_the_regions_topic_as_it_came() -> None:
    entry = forwarded(RECORD, "triggers.payments", 3, "u-42", "eu", (("hops", b"1"),))
    headers = (("hops", b"1"), ("source", b"triggers.payments:3:17"), ("origin_ms", b"0"))
    assert entry.outputs == (("forward.eu", 3, b"u-42", b"original", headers),)
    assert (entry.outcome, entry.document) == (TriggerOutcome.FORWARDED, None)


def test_a_record_that_is_handed_on_again_names_its_last_place_alone() -> None:
    first = repartitioned(ARecord(b"v", offset=17), "triggers.security", 3, 5, "u-42")
    ((*_, headers),) = repartitioned(
        ARecord(b"v", headers=first.outputs[0][4], offset=4), "triggers.security", 5, 6, "u"
    ).outputs
    assert headers == (("source", b"triggers.security:5:4"), ("origin_ms", b"0"))


DAY_MS = 24 * 3600 * 1000


@pytest.mark.parametrize(
    ("header", "origin"),
    [
        (None, 9 * DAY_MS),
        (b"%d" % (8 * DAY_MS), 8 * DAY_MS),
        (b"%d" % (10 * DAY_MS), 9 * DAY_MS),
        (b"0", 2 * DAY_MS),
        (b"9" * 5000, 9 * DAY_MS),
        (b"-1", 9 * DAY_MS),
        ("²".encode(), 9 * DAY_MS),
        (b"", 9 * DAY_MS),
    ],
)
def test_the_origin_of_a_copy_is_kept_within_a_week_before_its_own_time(header: bytes | None, origin: int) -> None:
    headers = (("origin_ms", header),) if header is not None else ()
    assert origin_ms(ARecord(headers=headers, timestamp=9 * DAY_MS)) == origin


PLANNED = (
    ChannelDecision("push", DeliveryState.QUEUED),
    ChannelDecision("sms", DeliveryState.SUPPRESSED, Reason.OPTED_OUT),
    ChannelDecision("email", DeliveryState.EXPIRED, Reason.EXPIRED),
)


WAYS = ContactRow(1, "token", "+15551234567", "u-42@example.org")


def a_notified(planned: Any = PLANNED, critical: Any = False, record: Any = RECORD, **but: Any) -> Any:
    expires_at = NOON + timedelta(hours=1)
    form = NotificationEncoder(3, "us", critical, NOON, NOON + timedelta(hours=1), 3600)
    return notified(
        record, "triggers.payments", b"u-42", "payments", a_trigger(**but), planned, expires_at, WAYS, 7, form
    )


def test_a_notification_has_every_channels_fate() -> None:
    entry = a_notified()
    found = bson.decode(entry.document.raw, UTC_TIMES)
    assert found["_id"] == entry.notification == notification_id("t-1", "u-42", "payments")
    assert found["deliveries"] == {
        "push": {"state": "queued", "attempts": 0, "at": NOON},
        "sms": {"state": "suppressed", "reason": "opted_out", "attempts": 0, "at": NOON},
        "email": {"state": "expired", "reason": "expired", "attempts": 0, "at": NOON},
    }
    said = ("bucket", "trigger_id", "user_id", "category", "critical", "lane", "region", "decided_at")
    assert found["system"] == "payments" and "source" not in found
    assert [found[name] for name in said] == [3, "t-1", "u-42", "payments", False, "standard", "us", NOON]
    assert found["preference_version"] == 7
    assert found["period_end"] == NOON + timedelta(hours=1)


def test_what_is_stored_never_holds_a_contact_or_what_was_said() -> None:
    stored = a_notified(title="Secret", body="Words", data={"amount": "12.50"}).document.raw
    assert not [word for word in (b"token", b"Secret", b"Words", b"12.50", b"+1555") if word in stored]


def test_only_a_queued_delivery_has_a_message() -> None:
    ((topic, partition, key, value, headers),) = a_notified().outputs
    assert (topic, partition, key) == ("push", 3, b"u-42")
    message = read_channel_message(value)
    assert message.delivery_id == delivery_id(notification_id("t-1", "u-42", "payments"), "push")
    assert (message.to, message.channel, message.template) == ("token", "push", "payment_received")
    assert (message.decided_at, message.expires_at) == (NOON, NOON + timedelta(hours=1))
    assert msgspec.json.decode(message.data) == {"amount": "12.50"}
    assert headers == [("id", message.delivery_id.encode()), ("critical", b"0"), ("traceparent", b"00-1")]


def test_a_person_with_devices_has_one_push_message() -> None:
    devices = Device("phone", "fcm"), Device("tablet", "apns")
    outcome = an_outcome(devices=devices)
    ((topic, *_, value, _),) = outcome.outputs
    message = read_channel_message(value)
    assert (topic, message.to, message.devices) == ("push", "", devices)
    assert "tablet" not in str(document_of(outcome))


def test_a_critical_notification_has_its_own_topics() -> None:
    everywhere = tuple(ChannelDecision(channel, DeliveryState.QUEUED) for channel in ("push", "sms", "email"))
    entry = a_notified(everywhere, critical=True)
    assert [output[0] for output in entry.outputs] == ["cric_push", "cric_sms", "cric_email"]
    assert all(("critical", b"1") in output[4] for output in entry.outputs)
    assert entry.document["lane"] == "critical" and entry.document["critical"] is True


def test_a_notification_that_nobody_gets_is_written_all_the_same() -> None:
    entry = a_notified(PLANNED[1:])
    assert entry.outputs == [] and set(entry.document["deliveries"]) == {"sms", "email"}


def test_a_trigger_without_data_is_sent_without_data() -> None:
    ((*_, value, _),) = a_notified(data=None).outputs
    assert "data" not in msgspec.json.decode(value)


def test_a_second_trace_header_without_a_value_does_no_harm() -> None:
    record = ARecord(b"", headers=(("traceparent", None),))
    entry = a_notified(record=record)
    assert entry.outputs[0][4][2:] == [("traceparent", None)]


DIFFERENT: list[dict[str, Any]] = [
    {"category": "security"},
    {"channels": ("push",)},
    {"is_critical": True},
    {"template": "other"},
    {"title": "x"},
    {"title": "None"},
    {"body": "x"},
    {"data": {"amount": "12.51"}},
    {"data": None},
    {"collapse_key": "x"},
    {"test": True},
    {"title": "a\0b", "body": "c"},
    {"title": "a", "body": "b\0c"},
    {"title": "a", "body": "b", "collapse_key": "c"},
]


def test_what_says_something_else_has_another_fingerprint() -> None:
    found = {fingerprint(a_trigger(**but)) for but in ({}, *DIFFERENT)}
    assert len(found) == len(DIFFERENT) + 1


def test_the_same_said_at_another_time_is_the_same() -> None:
    assert fingerprint(a_trigger(created_at=NOON)) == fingerprint(a_trigger())


leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def shuffled(value: Any, draw: Random) -> Any:
    """The same value with the names of its objects in another order."""
    if isinstance(value, dict):
        names = draw.sample(sorted(value), len(value))
        return {name: shuffled(value[name], draw) for name in names}
    return [shuffled(one, draw) for one in value] if isinstance(value, list) else value


@given(
    data=st.dictionaries(st.text().map("x{}".format), values),
    draw=st.randoms(),
    indent=st.sampled_from([None, 0, 3]),
    ascii_only=st.booleans(),
    channels=st.permutations(["push", "sms", "push"]),
)
def test_the_same_content_in_other_bytes_is_the_same(
    data: dict[str, Any], draw: Random, indent: int | None, ascii_only: bool, channels: list[str]
) -> None:
    first = trigger_json(data=data, channels=["push", "sms"])
    fields = shuffled(trigger_fields(data=data, channels=channels), draw)
    again = read_trigger(json.dumps(fields, indent=indent, ensure_ascii=ascii_only).encode(), ())
    found = read_trigger(first, ())
    assert isinstance(found, Trigger) and isinstance(again, Trigger)
    assert fingerprint(again) == fingerprint(found)


@given(data=st.dictionaries(st.text(), leaves, max_size=2), one=leaves, other=leaves)
def test_one_other_value_makes_other_content(data: dict[str, Any], one: Any, other: Any) -> None:
    first, second = (fingerprint(a_trigger(data=data | {"x": value})) for value in (one, other))
    assert (first == second) is (json.dumps(one) == json.dumps(other))


@given(size=st.integers(0, 300_000))
def test_a_fingerprint_fits_a_database_integer(size: int) -> None:
    assert 0 <= fingerprint(a_trigger(data={"x": "y" * size})) < 2**63


def test_the_document_carries_the_entrys_fingerprint() -> None:
    entry = an_outcome()
    assert entry.document is not None
    assert entry.document["fingerprint"] == entry.fingerprint == fingerprint(a_trigger())


def test_fingerprints_differ_by_more_than_chance() -> None:
    texts = [f"text {number}" for number in range(2_000)]
    assert len({fingerprint(a_trigger(title=text)) for text in texts}) == len(texts)
    assert zlib.crc32(b"123456789") == 0xCBF43926
