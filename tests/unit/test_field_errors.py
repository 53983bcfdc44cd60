"""What is wrong with a field: its name as it was written, what it must be, never the value."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from notify_streams.delivery.providers.generic_receipts import InvalidReport, generic_reports
from notify_streams.field_errors import problem_of
from notify_streams.records.trigger import Rejection, Trigger, read_trigger
from notify_streams.records.user_records import Contacts, PreferenceUpdate, Signup, read_preference_update
from notify_streams.settings import Settings
from tests.builders import trigger_json


class Example(msgspec.Struct, forbid_unknown_fields=True):
    number: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 1
    share: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.5
    pair: tuple[int, str] = (1, "a")
    names: Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=2)] = ("a",)
    limits: dict[str, dict[str, int]] = {}
    by_channel: dict[Literal["push", "sms"], bool] = {}
    content: bytes = b""
    wait: timedelta = timedelta(0)
    plain: Annotated[str, msgspec.Meta(pattern="^[a-z]+$")] = "a"


CASES = [
    (Trigger, b"[]", "the record must be an object, found a list"),
    (Trigger, b"null", "the record must be an object, found null"),
    (Trigger, b"{}", "`user_id` is missing"),
    (Trigger, b'{"user_id": 1}', "`user_id` must be text, found a whole number"),
    (Trigger, b'{"user_id": ""}', "`user_id` is empty"),
    (Trigger, b'{"user_id": "%s"}' % (b"x" * 129), "`user_id` is longer than 128 characters"),
    (Trigger, b'{"channels": ["fax"]}', "`channels[0]` must be one of email, push, sms"),
    (Trigger, b'{"channels": "push"}', "`channels` must be a list, found text"),
    (Trigger, b'{"isCritical": 1.5}', "`isCritical` must be true or false, found a number"),
    (Trigger, b'{"title": {}}', "`title` must be text, found an object"),
    (Trigger, b'{"created_at": "soon"}', "`created_at` must be a time with its zone, as 2026-11-22T10:00:00Z"),
    (
        Trigger,
        b'{"expires_at": "2026-11-22T10:00:00"}',
        "`expires_at` must be a time with its zone, as 2026-11-22T10:00:00Z",
    ),
    (Signup, b'{"locale": "?"}', "`locale` must be a BCP 47 tag, as pt-BR"),
    (Signup, b'{"version": 0}', "`version` must be at least 1"),
    (Signup, b'{"version": 9007199254740993}', "`version` must be at most 9,007,199,254,740,991"),
    (Contacts, b'{"devices": [{"token": "t"}, {}]}', "`devices[1].token` is missing"),
    (Contacts, b'{"devices": [{"provider": "gcm"}]}', "`devices[0].provider` must be one of apns, fcm, web_push"),
    (Contacts, b'{"remove": {"fax": "x"}}', "`remove` has a name that must be one of email, push, sms"),
    (Contacts, b'{"remove": {"sms": 1}}', "`remove` has a value that must be text, found a whole number"),
    (PreferenceUpdate, b'{"channel": "fax"}', "`channel` must be one of *, email, push, sms"),
    (Example, b'{"nummer": 1}', "`nummer` does not exist; did you mean `number`?"),
    (
        Example,
        b'{"zzz": 1}',
        "`zzz` does not exist; known are number, share, pair, names, limits, by_channel, content, wait, plain",
    ),
    (Example, b'{"number": 1e999}', "`number` is too large for a number"),
    (Example, b'{"number": 2000000}', "`number` must be at most 1,000,000"),
    (Example, b'{"share": 1}', "`share` must be less than 1.0"),
    (Example, b'{"share": 0}', "`share` must be more than 0.0"),
    (Example, b'{"pair": [1]}', "`pair` must have 2 entries"),
    (Example, b'{"pair": [1, 2]}', "`pair[1]` must be text, found a whole number"),
    (Example, b'{"names": []}', "`names` is empty"),
    (Example, b'{"names": ["a", "b", "c"]}', "`names` must have at most 2 entries"),
    (Example, b'{"limits": {"secret": 1}}', "`limits` has a value that must be an object, found a whole number"),
    (Example, b'{"limits": {"secret": {"a": "b"}}}', "`limits` has a value that must be a whole number, found text"),
    (Example, b'{"by_channel": {"fax": true}}', "`by_channel` has a name that must be one of push, sms"),
    (Example, b'{"content": "!"}', "`content` must be base64"),
    (Example, b'{"wait": "soon"}', "`wait` must be a duration, as PT30S"),
    (Example, b'{"plain": "A"}', "`plain` does not match '^[a-z]+$'"),
    (
        dict[str, Example],
        b'{"secret": {"number": "x"}}',
        "the record has a value whose `number` must be a whole number, found text",
    ),
    (Trigger, b'{"user_id": ', "the record is not JSON: it ends too early"),
    (Trigger, b'{"user_id" 1}', "the record is not JSON: expected ':' at byte 11"),
]


@pytest.mark.parametrize(("kind", "value", "sentence"), CASES, ids=[case[2] for case in CASES])
def test_a_fault_is_described_in_the_words_of_its_field(kind: Any, value: bytes, sentence: str) -> None:
    with pytest.raises(msgspec.DecodeError) as error:
        msgspec.json.decode(value, type=kind)
    assert problem_of(error.value, kind).sentence("the record") == sentence


@given(st.text(st.characters(codec="utf-8"), min_size=4, max_size=300).map(lambda text: f"<{text}>"))
def test_no_value_of_a_sender_is_repeated(secret: str) -> None:
    for fields in (
        {"channels": [secret]},
        {"created_at": secret},
        {"data": secret},
        {"isCritical": secret},
        {"collapse_key": secret * 33},
    ):
        found = read_trigger(trigger_json(**fields), ())
        assert isinstance(found, Rejection) and secret not in found.detail and len(found.detail) < 200


def test_a_value_of_the_data_is_named_by_its_path() -> None:
    found = read_trigger(trigger_json(data={"amount": 1}).replace(b'"amount": 1', b'"amount": 1e999'), ())
    assert isinstance(found, Rejection) and found.detail == "`data.amount` is too large for a number"


def test_a_problem_of_an_inner_value_has_the_outer_path() -> None:
    problem = problem_of(msgspec.ValidationError("Expected `str`, got `int` - at `$[0]`"), tuple[str, ...])
    assert problem.inside("shards").path == "shards[0]"
    assert problem_of(msgspec.ValidationError("Expected `object`, got `int`"), Settings).inside("edge").path == "edge"


def test_an_unknown_message_of_the_decoder_is_not_repeated() -> None:
    assert problem_of(msgspec.ValidationError("a 's3cr3t' is wrong - at `$.a`")) == ("a", "is not valid")


def test_every_reader_speaks_of_fields() -> None:
    update = read_preference_update(b'{"user_id": "ada", "category": "c", "channel": "fax"}', 0)
    assert isinstance(update, Rejection) and update.detail == "`channel` must be one of *, email, push, sms"
    with pytest.raises(InvalidReport, match=r"^`data\.bucket` must be a whole number, found text$"):
        body = b'{"type": "delivery.failed", "data": {"delivery_id": "d", "region": "us", "bucket": "x"}}'
        generic_reports(body, "w", datetime(2026, 11, 28))
