"""A channel message is written in two parts and read as one."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from notify_streams.records.channel_message import SharedPart, encode_for, encode_shared, read_channel_message
from notify_streams.records.trigger import NO_DATA, Trigger, read_trigger
from notify_streams.roles import CHANNELS
from tests.builders import NOON, a_message

words = st.text(st.characters(codec="utf-8"), max_size=40)


def a_part(**but: Any) -> SharedPart:
    usual: dict[str, Any] = {
        "notification_id": "n",
        "trigger_id": "t",
        "user_id": "u",
        "category": "payments",
        "decided_at": NOON,
    }
    return SharedPart(**(usual | but))


@given(
    texts=st.tuples(*[words] * 8),
    to=words,
    delivery=words,
    channel=st.sampled_from(CHANNELS),
    critical=st.booleans(),
    version=st.integers(0, 2**40),
    data=st.none() | st.dictionaries(words, words),
    expires_at=st.none() | st.datetimes(datetime(2000, 1, 1), timezones=st.just(UTC)),
)
def test_what_is_written_is_read(
    texts: Any, to: Any, delivery: Any, channel: Any, critical: bool, version: int, data: Any, expires_at: Any
) -> None:
    names = ("notification_id", "trigger_id", "user_id", "category", "template", "title", "body", "collapse_key")
    said = dict(zip(names, texts, strict=True)) | {
        "critical": critical,
        "preference_version": version,
        "expires_at": expires_at,
        "decided_at": NOON,
    }
    raw: dict[str, Any] = {} if data is None else {"data": msgspec.Raw(msgspec.json.encode(data))}
    found = read_channel_message(encode_for(encode_shared(SharedPart(**said, **raw)), delivery, channel, to))
    assert (found.delivery_id, found.channel, found.to) == (delivery, channel, to)
    assert {name: getattr(found, name) for name in said} == said
    assert (msgspec.json.decode(found.data) if data is not None else found.data is NO_DATA) == (
        data or data is None or {}
    )


@pytest.mark.parametrize("value", [b'{"id":"1","user_id":"u","category":"c","template":"t"}'])
def test_a_trigger_without_data_makes_a_message_without_data(value: bytes) -> None:
    trigger = read_trigger(value, ())
    assert isinstance(trigger, Trigger)
    message = encode_for(encode_shared(a_part(data=trigger.data)), "d", "push", "token")
    assert read_channel_message(message).data is NO_DATA


def test_null_data_makes_a_message_without_data() -> None:
    trigger = read_trigger(b'{"id":"1","user_id":"u","category":"c","template":"t","data":null}', ())
    assert isinstance(trigger, Trigger)
    message = encode_for(encode_shared(a_part(data=trigger.data)), "d", "push", "token")
    assert read_channel_message(message).data is NO_DATA


def test_fields_of_a_later_release_are_tolerated() -> None:
    message = msgspec.json.encode(msgspec.structs.asdict(a_message(data=None)) | {"data": {}, "new": [1]})
    assert read_channel_message(message).delivery_id == a_message().delivery_id


def test_a_time_without_a_zone_is_refused() -> None:
    """It could not be compared with any other, and would stop the worker that tries."""
    message = encode_for(encode_shared(a_part()), "d", "push", "token").replace(b"12:00:00Z", b"12:00:00")
    with pytest.raises(msgspec.ValidationError):
        read_channel_message(message)
