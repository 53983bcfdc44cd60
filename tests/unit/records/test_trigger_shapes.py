"""Every shape in which an upstream system may send a trigger, and every way in which it may get it wrong."""

import base64
import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from notify_streams.records.names import is_reserved, name_fault
from notify_streams.records.outcomes import DeadReason
from notify_streams.records.trigger import MAX_DEPTH, NO_DATA, Rejection, Trigger, read_trigger
from tests.builders import trigger_fields, trigger_json
from tests.log_leaks import SENDERS_TEXT


def read(value: Any, *headers: Any) -> Trigger:
    found = read_trigger(value, headers)
    assert isinstance(found, Trigger), found
    return found


def rejected(value: Any, *headers: Any) -> Rejection:
    found = read_trigger(value, headers)
    assert isinstance(found, Rejection), found
    return found


def structured(**but: Any) -> bytes:
    usual = {"specversion": "1.0", "id": "ce-1", "source": "/pay", "type": "paid", "data": trigger_fields()}
    return json.dumps({name: value for name, value in (usual | but).items() if value is not ...}).encode()


def in_base64(data: bytes) -> bytes:
    return structured(data=..., data_base64=base64.b64encode(data).decode())


def with_data(data: bytes) -> bytes:
    """A trigger whose data is these very bytes."""
    return trigger_json(data="*").replace(b'"*"', data)


def test_bare_json_says_what_it_says() -> None:
    found = read(
        trigger_json(
            isCritical=True,
            channels=["push", "email"],
            title="T",
            body="B",
            created_at="2026-11-22T10:00:00Z",
            expires_at="2026-11-22T12:30:00+02:00",
            collapse_key="c",
            test=True,
        )
    )
    assert (found.id, found.user_id, found.category, found.template) == ("t-1", "u-42", "payments", "payment_received")
    assert found.is_critical and found.test and found.collapse_key == "c"
    assert found.channels == ("push", "email")
    assert (found.title, found.body) == ("T", "B")
    assert found.created_at == datetime(2026, 11, 22, 10, tzinfo=UTC)
    assert found.expires_at == datetime(2026, 11, 22, 10, 30, tzinfo=UTC)
    assert msgspec.json.decode(found.data) == {"amount": "12.50", "note": SENDERS_TEXT}


@pytest.mark.parametrize(
    ("value", "headers"),
    [
        pytest.param(structured(), (), id="structured"),
        pytest.param(in_base64(trigger_json()), (), id="structured, data_base64"),
        pytest.param(structured(extension="x", subject="y"), (), id="structured with extensions"),
        pytest.param(trigger_json(), (("ce_id", b"ce-1"), ("ce_type", b"paid")), id="binary mode"),
    ],
)
def test_every_envelope_holds_the_same_trigger(value: Any, headers: Any) -> None:
    assert msgspec.structs.replace(read(value, *headers), source=None) == read(trigger_json())


@pytest.mark.parametrize(
    ("value", "headers"),
    [
        pytest.param(structured(data=trigger_fields(id=...)), (), id="structured"),
        pytest.param(in_base64(trigger_json(id=...)), (), id="structured, data_base64"),
        pytest.param(trigger_json(id=...), (("ce_id", b"ce-1"),), id="binary mode"),
    ],
)
def test_an_event_id_stands_in_for_a_missing_trigger_id(value: Any, headers: Any) -> None:
    assert read(value, *headers).id == "ce-1"


def test_the_datas_own_id_wins_over_the_events() -> None:
    assert read(structured(), ("ce_id", b"other")).id == "t-1"
    assert read(trigger_json(), ("ce_id", b"other")).id == "t-1"


@pytest.mark.parametrize("length", [1, 128])
def test_an_id_may_have_this_many_characters(length: int) -> None:
    assert read(trigger_json(id="ü" * length)).id == "ü" * length
    assert read(trigger_json(id=...), ("ce_id", ("ü" * length).encode())).id == "ü" * length


@pytest.mark.parametrize("wrong", ["", "x" * 129])
def test_an_id_may_not_be_empty_or_too_long(wrong: Any) -> None:
    for found in (
        rejected(trigger_json(id=wrong)),
        rejected(trigger_json(id=...), ("ce_id", wrong.encode())),
        rejected(structured(id=wrong, data=trigger_fields(id=...))),
    ):
        assert found.reason == DeadReason.INVALID


def test_an_id_header_that_is_not_utf8_is_refused_and_not_replaced() -> None:
    """Replaced, two different ids would become one, and the second trigger a duplicate of the first."""
    found = rejected(trigger_json(id=...), ("ce_id", b"\xff"))
    assert found.reason == DeadReason.INVALID and "ce_id" in found.detail


def test_a_header_without_a_value_is_no_id() -> None:
    assert rejected(trigger_json(id=...), ("ce_id", None)).reason == DeadReason.INVALID
    assert read(trigger_json(), ("ce_id", None), ("critical", None)).id == "t-1"


@pytest.mark.parametrize(
    "unfit", ["i\t1", " i2", "i3 ", "i\0", "a\nb", "a\r\nb", "a\x7fb", "a\x85b", "a\u2028b"], ids=ascii
)
@pytest.mark.parametrize("field", ["id", "user_id"])
def test_an_id_is_one_line_without_blanks_at_its_ends(field: Any, unfit: Any) -> None:
    for value in (trigger_json(**{field: unfit}), structured(data=trigger_fields(**{field: unfit}))):
        found = rejected(value)
        assert found.reason == DeadReason.INVALID and f"`{field}`" in found.detail and unfit not in found.detail


@pytest.mark.parametrize("unfit", ["i\t1", " i2", "a\x85b"], ids=ascii)
def test_an_event_id_follows_the_same_rule(unfit: Any) -> None:
    for found in (
        rejected(trigger_json(id=...), ("ce_id", unfit.encode())),
        rejected(structured(id=unfit, data=trigger_fields(id=...))),
    ):
        assert found.reason == DeadReason.INVALID and "`id`" in found.detail


NOT_JSON = [
    pytest.param(None, "no value", id="null value"),
    pytest.param(b"", "no value", id="empty value"),
    pytest.param(b"hello", "not JSON", id="text"),
    pytest.param(b"\x00", "not JSON", id="NUL"),
    pytest.param(trigger_json()[:-1], "ends too early", id="cut off"),
    pytest.param(trigger_json() + b" {}", "trailing", id="two objects"),
    pytest.param(b"{'id': 1}", "not JSON", id="single quotes"),
    pytest.param(trigger_json().replace(b"u-42", b"u-\xff"), "UTF-8", id="bad UTF-8"),
    pytest.param(with_data(b'{"a": "\xff"}'), "UTF-8", id="bad UTF-8 in the data"),
    pytest.param(with_data(b'{"\xed\xa0\x80": 1}'), "UTF-8", id="a surrogate in UTF-8 in the data"),
    pytest.param(with_data(rb'{"a": "\ud800"}'), "not JSON", id="half a surrogate pair in the data"),
    pytest.param(trigger_json().replace(b"u-42", rb"\ud800"), "surrogate", id="half a surrogate pair"),
    pytest.param(trigger_json().replace(b"u-42", rb"\x41"), "escape", id="an escape that JSON lacks"),
    pytest.param(with_data(b'{"a": NaN}'), "not JSON", id="NaN"),
    pytest.param(with_data(b'{"a": Infinity}'), "not JSON", id="Infinity"),
    pytest.param(with_data(b'{"a": 01}'), "number", id="a leading zero"),
    pytest.param(with_data(b'{"a": "\n"}'), "not JSON", id="a raw line end in a string"),
    pytest.param(b"\xef\xbb\xbf" + trigger_json(), "byte order mark", id="BOM"),
    pytest.param(trigger_json().decode().encode("utf-16"), "not UTF-8", id="UTF-16"),
]


@pytest.mark.parametrize(("value", "says"), NOT_JSON)
def test_what_is_not_json_is_called_so(value: Any, says: Any) -> None:
    found = rejected(value)
    assert found.reason == DeadReason.NOT_JSON
    assert says in found.detail


INVALID = [
    pytest.param(b"[]", "object", id="an array"),
    pytest.param(b"null", "object", id="null"),
    pytest.param(b'"x"', "object", id="a string"),
    pytest.param(b"{}", "user_id", id="an empty object"),
    pytest.param(trigger_json(id=...), "id", id="no id"),
    pytest.param(trigger_json(id=None), "id", id="a null id"),
    pytest.param(trigger_json(id=7), "id", id="a number as id"),
    pytest.param(trigger_json(user_id=...), "user_id", id="no user"),
    pytest.param(trigger_json(user_id=""), "user_id", id="an empty user id"),
    pytest.param(trigger_json(user_id="u" * 129), "user_id", id="a long user id"),
    pytest.param(trigger_json(user_id=42), "user_id", id="a number as user id"),
    pytest.param(trigger_json(category=...), "category", id="no category"),
    pytest.param(trigger_json(category=None), "category", id="a null category"),
    pytest.param(trigger_json(template=...), "template", id="neither template nor text"),
    pytest.param(trigger_json(template=..., title="T"), "template", id="a title without a body"),
    pytest.param(trigger_json(template=..., body="B"), "template", id="a body without a title"),
    pytest.param(trigger_json(template=""), "template", id="an empty template name"),
    pytest.param(trigger_json(template="t" * 129), "template", id="a long template name"),
    pytest.param(trigger_json(category="c" * 129), "category", id="a long category name"),
    pytest.param(trigger_json(channels=[]), "channels", id="no channel at all"),
    pytest.param(trigger_json(channels=["pigeon"]), "channels", id="an unknown channel"),
    pytest.param(trigger_json(channels="push"), "channels", id="channels that are no list"),
    pytest.param(trigger_json(isCritical="true"), "isCritical", id="a text for a boolean"),
    pytest.param(trigger_json(isCritical=1), "isCritical", id="a number for a boolean"),
    pytest.param(trigger_json(isCritical=None), "isCritical", id="null for a boolean"),
    pytest.param(trigger_json(created_at="yesterday"), "created_at", id="a time that is none"),
    pytest.param(trigger_json(created_at="2026-11-22T10:00:00"), "with its zone", id="a time without a zone"),
    pytest.param(trigger_json(expires_at=1700000000), "expires_at", id="a time in seconds"),
    pytest.param(trigger_json(created_at="0001-01-01T00:00:00+23:59"), "created_at", id="the first year"),
    pytest.param(trigger_json(expires_at="9999-12-31T23:59:59-23:59"), "expires_at", id="the last year"),
    pytest.param(trigger_json(title="x" * 1001), "title", id="a long title"),
    pytest.param(trigger_json(collapse_key=""), "collapse_key", id="an empty collapse key"),
    pytest.param(trigger_json(collapse_key="x" * 65), "collapse_key", id="a long collapse key"),
    pytest.param(trigger_json(collapse_key="a\n"), "collapse_key", id="a collapse key of two lines"),
    pytest.param(trigger_json(collapse_key="ü"), "collapse_key", id="a collapse key beyond ASCII"),
    pytest.param(trigger_json(data=[1]), "data", id="an array as data"),
    pytest.param(trigger_json(data="x"), "data", id="a text as data"),
    pytest.param(trigger_json(data=5), "data", id="a number as data"),
    pytest.param(with_data(b'{"a": 1e999}'), "`data.a` is too large", id="a number beyond every float"),
    pytest.param(with_data(b'{"a": ' + b"9" * 5000 + b"}"), "`data.a` is too large", id="a number with 5,000 digits"),
    pytest.param(with_data(b'{"a":' + b"[" * 500 + b"]" * 500 + b"}"), "nested", id="500 levels of data"),
    pytest.param(with_data(b'{"a":' + b"[" * 99_000 + b"]" * 99_000 + b"}"), "nested", id="99,000 levels of data"),
    pytest.param(b"[" * 100_000, "nested", id="100,000 brackets"),
    pytest.param(structured(data=...), "neither", id="an event without data"),
    pytest.param(structured(data=None), "CloudEvent", id="an event with null data"),
    pytest.param(structured(data=trigger_fields(user_id=...)), "user_id", id="an event whose data lacks the user"),
    pytest.param(structured(data=..., data_base64="a"), "CloudEvent", id="bad base64"),
    pytest.param(structured(data=..., data_base64="!!!!"), "CloudEvent", id="no base64 at all"),
    pytest.param(structured(data=..., data_base64="ü"), "CloudEvent", id="base64 beyond ASCII"),
    pytest.param(in_base64(b"hello"), "CloudEvent", id="base64 of text"),
    pytest.param(in_base64(with_data(b'{"a": "\xff"}')), "CloudEvent", id="base64 of bad UTF-8"),
    pytest.param(in_base64(b'{"a":' * 300 + b"1" + b"}" * 300), "nested", id="base64 of 300 levels"),
]


@pytest.mark.parametrize(("value", "says"), INVALID)
def test_what_is_json_but_no_trigger_is_invalid(value: Any, says: Any) -> None:
    found = rejected(value)
    assert found.reason == DeadReason.INVALID, found
    assert says in found.detail


def test_the_whole_value_is_never_part_of_a_detail() -> None:
    for case in (*NOT_JSON, *INVALID):
        found = rejected(case.values[0])
        assert len(found.detail) < 300


@pytest.mark.parametrize("levels", [MAX_DEPTH - 2, MAX_DEPTH - 1])
def test_how_deep_data_may_be(levels: Any) -> None:
    value = with_data(b'{"a":' + b"[" * levels + b"]" * levels + b"}")
    assert isinstance(read_trigger(value, ()), Trigger if levels + 2 <= MAX_DEPTH else Rejection)


def test_brackets_within_texts_do_not_nest() -> None:
    assert read(trigger_json(template=..., title='[{"' * 300, body="]" + "[" * 400 + '\\"' + "{" * 400))


def test_how_deep_the_caller_is_makes_no_difference() -> None:
    """Two roles that read one record from different depths of their stacks must come to the same end."""
    values = [with_data(b'{"a":' + b"[" * n + b"]" * n + b"}") for n in (MAX_DEPTH - 2, MAX_DEPTH, 600, 950)]
    here = [type(read_trigger(value, ())) for value in values]

    def deeper(calls: int) -> Any:
        return deeper(calls - 1) if calls else [type(read_trigger(value, ())) for value in values]

    assert deeper(400) == here == [Trigger, Rejection, Rejection, Rejection]


def test_of_two_equal_keys_the_last_one_counts() -> None:
    assert read(trigger_json()[:-1] + b', "id": "t-2"}').id == "t-2"


def test_escapes_are_read() -> None:
    assert (
        read(trigger_json().replace(b'"user_id"', rb'"user\u005fid"').replace(b"u-42", rb"\u0075-42")).user_id == "u-42"
    )


def test_unknown_fields_are_tolerated() -> None:
    assert read(trigger_json(x={"deep": [1, {"y": None}]}, ttl=5)) == read(trigger_json())


def test_space_around_it_is_tolerated() -> None:
    assert read(b" \r\n\t" + trigger_json() + b" \n") == read(trigger_json())


@pytest.mark.parametrize("value", [trigger_json(data=...), trigger_json(data=None)], ids=["none", "null"])
def test_no_data_is_the_one_object_that_encoders_leave_out(value: Any) -> None:
    assert read(value).data is NO_DATA


RESERVED = [
    "notify_critical",
    "notify_",
    "from",
    "message_type",
    "collapse_key",
    "aps",
    "gcm",
    "gcm.x",
    "google.x",
    "googles",
]


@pytest.mark.parametrize("name", RESERVED)
def test_a_name_that_a_provider_or_this_system_uses_is_refused(name: Any) -> None:
    found = rejected(trigger_json(data={"a": 1, name: 1}))
    assert found.reason == DeadReason.INVALID and f"reserved name {name!r}" in found.detail


@pytest.mark.parametrize("name", ["attempt", "critical", "possible_duplicate", "data_from", "From", "notify", "x_from"])
def test_other_names_are_the_applications_own(name: Any) -> None:
    assert read(trigger_json(data={name: 1, "x": {"from": 1}}))


@pytest.mark.parametrize(
    "channels", [["sms", "push"], ["push", "sms", "push"], ["sms", "push"] * 10_000], ids=["order", "repeated", "many"]
)
def test_channels_are_read_once_each_in_one_order(channels: Any) -> None:
    assert read(trigger_json(channels=channels)).channels == ("push", "sms")


def test_integers_of_any_reasonable_length_pass() -> None:
    assert msgspec.json.decode(read(with_data(b'{"a": 123456789012345678901234567890}')).data)


words = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40)
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=10,
)


names = words.filter(lambda text: name_fault("", text) is None)
free_names = words.filter(lambda name: not is_reserved(name))


@given(identity=names, user=names, category=names, title=words, body=words, data=st.dictionaries(free_names, plain))
def test_whatever_text_is_sent_arrives(
    identity: Any, user: Any, category: Any, title: Any, body: Any, data: Any
) -> None:
    found = read(
        trigger_json(id=identity, user_id=user, category=category, template=..., title=title, body=body, data=data)
    )
    assert (found.id, found.user_id, found.category, found.title, found.body) == (identity, user, category, title, body)
    assert msgspec.json.decode(found.data) == json.loads(json.dumps(data))


@given(value=st.binary() | st.text().map(str.encode) | plain.map(json.dumps).map(str.encode))
def test_reading_never_raises(value: bytes) -> None:
    assert isinstance(read_trigger(value, ()), Trigger | Rejection)


@given(value=st.sampled_from([trigger_json(), structured(), in_base64(trigger_json())]), data=st.data())
def test_a_damaged_trigger_never_raises(value: Any, data: Any) -> None:
    at = data.draw(st.integers(0, len(value) - 1))
    damaged = value[:at] + data.draw(st.binary(max_size=3)) + value[at + data.draw(st.integers(0, 3)) :]
    found = read_trigger(damaged, ())
    if isinstance(found, Trigger) and found.data is not NO_DATA:
        assert isinstance(msgspec.json.decode(found.data), dict)


@pytest.mark.parametrize(
    ("value", "headers", "source"),
    [
        (trigger_json(), (), None),
        (trigger_json(source="/crm"), (), None),
        (trigger_json(source=7), (), None),
        (trigger_json(), (("ce_source", b"/crm"),), "/crm"),
        (trigger_json(id=...), (("ce_id", b"7"), ("ce_source", b"/crm")), "/crm"),
        (trigger_json(), (("ce_source", b""),), None),
        (trigger_json(), (("ce_source", None),), None),
        (
            json.dumps({"specversion": "1.0", "id": "7", "source": "/crm", "data": trigger_fields()}).encode(),
            (),
            "/crm",
        ),
        (json.dumps({"specversion": "1.0", "id": "7", "data": trigger_fields(source="/x")}).encode(), (), None),
        (trigger_json(**{"(source of the CloudEvent)": "/forged"}), (), None),
    ],
)
def test_only_a_cloud_event_has_a_source(value: bytes, headers: Any, source: str | None) -> None:
    trigger = read_trigger(value, headers)
    assert isinstance(trigger, Trigger) and trigger.source == source


@pytest.mark.parametrize("source", [b"\xff", b"x" * 513])
def test_a_source_is_utf8_and_bounded(source: bytes) -> None:
    found = read_trigger(trigger_json(), (("ce_source", source),))
    assert isinstance(found, Rejection) and found.reason is DeadReason.INVALID
