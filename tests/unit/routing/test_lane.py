"""The two router roles never speak to each other, and yet exactly one of them takes each record."""

import base64
import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from notify_streams.records.outcomes import DeadReason
from notify_streams.records.trigger import Rejection, Trigger
from notify_streams.routing.lane import read_trigger_for_lane
from tests.builders import ARecord, categories, trigger_fields, trigger_json

CATEGORIES = categories()
LIMIT = 4_000


def takers(record: ARecord, system: str | None = "payments") -> dict[str, Trigger | Rejection]:
    found = {lane: read_trigger_for_lane(lane, record, system, CATEGORIES, LIMIT) for lane in ("critical", "standard")}
    return {lane: what for lane, what in found.items() if what is not None}


def event(**but: Any) -> bytes:
    return json.dumps({"specversion": "1.0", "id": "c", "source": "s", "type": "t", **but}).encode()


URGENT = (("critical", b"1"),)
CASES = [
    pytest.param(trigger_json(isCritical=True), (), "critical", id="its body says so"),
    pytest.param(trigger_json(), URGENT, "critical", id="its header says so"),
    pytest.param(trigger_json(isCritical=False), URGENT, "critical", id="the header alone says so"),
    pytest.param(trigger_json(), (("critical", b"0"), ("critical", b"1")), "critical", id="one of two headers says so"),
    pytest.param(trigger_json(), (), "standard", id="not requested"),
    pytest.param(trigger_json(isCritical=True, category="marketing"), URGENT, "standard", id="the category forbids it"),
    pytest.param(trigger_json(isCritical=True, category="?"), URGENT, "standard", id="unknown category"),
    pytest.param(trigger_json(), (("critical", b"true"),), "standard", id="a header with another value"),
    pytest.param(trigger_json(), (("critical", None),), "standard", id="a header without a value"),
    pytest.param(trigger_json(), (("Critical", b"1"),), "standard", id="another header"),
    pytest.param(b"not json", URGENT, "standard", id="not JSON, with the header"),
    pytest.param(None, URGENT, "standard", id="no value, with the header"),
    pytest.param(trigger_json(isCritical=True, user_id=...), URGENT, "standard", id="invalid, and would be critical"),
    pytest.param(trigger_json(isCritical=True, body="x" * LIMIT), URGENT, "standard", id="too large"),
    pytest.param(trigger_json(data={"isCritical": True}), (), "standard", id="the data says so, which means nothing"),
    pytest.param(trigger_json(title='"isCritical": true'), (), "standard", id="a text says so, which means nothing"),
    pytest.param(trigger_json()[:-1] + b', "isCritical"\r\n:\t true}', (), "critical", id="with space between"),
    pytest.param(trigger_json()[:-1] + b', "is\\u0043ritical": true}', (), "critical", id="with an escape in the name"),
    pytest.param(
        trigger_json(isCritical=True)[:-1] + b', "isCritical": false}', (), "standard", id="twice, at last not"
    ),
    pytest.param(
        trigger_json(isCritical=False)[:-1] + b', "isCritical": true}', (), "critical", id="twice, at last so"
    ),
    pytest.param(event(data=trigger_fields(isCritical=True)), (), "critical", id="within a CloudEvent"),
    pytest.param(
        event(data_base64=base64.b64encode(trigger_json(isCritical=True)).decode()), (), "critical", id="within base64"
    ),
    pytest.param(
        event(data_base64=base64.b64encode(trigger_json()).decode()), (), "standard", id="base64 that does not ask"
    ),
    pytest.param(
        event(data_base64=base64.b64encode(trigger_json(isCritical=True)).decode()).replace(b"data_", rb"data\u005f"),
        (),
        "critical",
        id="within base64 under an escaped name",
    ),
    pytest.param(b'{"a":' * 600 + trigger_json(isCritical=True), URGENT, "standard", id="nested too deep"),
]


@pytest.mark.parametrize(("value", "headers", "lane"), CASES)
def test_who_takes_what(value: Any, headers: Any, lane: Any) -> None:
    assert list(takers(ARecord(value, headers=headers))) == [lane]


@pytest.mark.parametrize(
    ("system", "lane"), [("payments", "critical"), (None, "critical"), ("marketing", "standard"), ("", "standard")]
)
def test_a_category_is_critical_for_its_systems_alone(system: Any, lane: Any) -> None:
    assert list(takers(ARecord(trigger_json(isCritical=True), headers=URGENT), system)) == [lane]


spellings = st.sampled_from(
    [b'"isCritical"', b'"is\\u0043ritical"', b'"\\u0069sCritical"', b'"iscritical"', b'"isCritical "']
)
spaces = st.text("\t\r\n ", max_size=3).map(str.encode)
values = st.sampled_from([b"true", b"false", b"null", b'"true"', b"1", b"tru\\u0065"])
member = st.builds(lambda name, a, b, value: b"," + name + a + b":" + b + value, spellings, spaces, spaces, values)
body = st.builds(
    lambda category, members: trigger_json(category=category)[:-1] + b"".join(members) + b"}",
    st.sampled_from(["payments", "marketing", "security", "unknown"]),
    st.lists(member, max_size=3),
)
enveloped = st.builds(
    lambda trigger, name: b'{"specversion":"1.0","id":"c","%b":"%b"}' % (name, base64.b64encode(trigger)),
    body,
    st.sampled_from([b"data_base64", rb"data\u005fbase64", rb"\u0064ata_base64"]),
)
inline = body.map(lambda trigger: b'{"specversion":"1.0","id":"c","data":' + trigger + b"}")
headers = st.lists(
    st.tuples(
        st.sampled_from(["critical", "ce_id", "hops", "x"]),
        st.none() | st.sampled_from([b"1", b"0", b"", b"true", b"\xff"]) | st.binary(max_size=4),
    ),
    max_size=4,
)


@given(
    value=st.none() | st.binary(max_size=60) | body | enveloped | inline,
    headers=headers,
    key=st.none() | st.binary(max_size=20),
    damage=st.none() | st.tuples(st.integers(0, 400), st.binary(max_size=4)),
    system=st.sampled_from(["payments", "marketing", "security", "other", None]),
)
@example(trigger_json(isCritical=True), [("ce_id", None), ("critical", None)], b"\xff", None, "payments")
def test_exactly_one_lane_takes_a_record_whatever_was_sent(
    value: Any, headers: Any, key: Any, damage: Any, system: Any
) -> None:
    if value and damage:
        at, added = damage
        at %= len(value)
        value = value[:at] + added + value[at + 1 :]
    assert len(takers(ARecord(value, key, headers), system)) == 1


@given(size=st.integers(LIMIT - 300, LIMIT + 50), headers=headers)
def test_both_lanes_draw_the_same_line_at_the_limit(size: int, headers: Any) -> None:
    value = trigger_json(isCritical=True, body="x" * (size - len(trigger_json(isCritical=True, body=""))))
    assert len(takers(ARecord(value, b"k", headers))) == 1


@pytest.mark.parametrize(
    "record",
    [
        pytest.param(ARecord(trigger_json(body="x" * LIMIT)), id="value"),
        pytest.param(ARecord(trigger_json(), b"k" * LIMIT), id="key"),
        pytest.param(ARecord(trigger_json(), headers=(("x", b"y" * LIMIT),)), id="one header"),
        pytest.param(ARecord(trigger_json(), headers=(("x", b"y" * 100),) * 50), id="many headers"),
    ],
)
def test_all_that_travels_on_counts_as_size(record: Any) -> None:
    """A record is forwarded with its headers, and a dead letter keeps key and headers: the topics there have limits, too."""
    (found,) = takers(record).values()
    assert isinstance(found, Rejection)
    assert found.reason == DeadReason.TOO_LARGE
    assert str(LIMIT) in found.detail
