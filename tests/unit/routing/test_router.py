"""A batch in, the same batch decided: every record has exactly one outcome, in order, and none can stop the others."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notify_streams.errors import RetryLater
from notify_streams.outbox.flush_plan import plan_flush
from notify_streams.records.channel_message import read_channel_message
from notify_streams.records.partitioner import bucket_of
from notify_streams.routing.outcome_records import id_conflict
from notify_streams.routing.router import Router
from tests.builders import (
    PARTITIONS,
    AckRecorder,
    ARecord,
    FakePlacements,
    FakeRecipients,
    a_batch,
    document_of,
    is_dead,
    outcomes,
    trigger_fields,
)
from tests.unit.routing.routing_fixtures import (
    CATEGORIES,
    ELSEWHERE,
    HERE,
    SETTINGS,
    TEMPLATES,
    for_user,
    known_people,
    route,
)

CASES = [
    pytest.param(for_user(HERE[0]), "notified", None, id="someone at home here"),
    pytest.param(for_user(HERE[3]), "forwarded", None, id="someone at home elsewhere"),
    pytest.param(for_user(ELSEWHERE[0]), "repartitioned", None, id="someone of another bucket"),
    pytest.param(for_user("stranger of this bucket"), "repartitioned", None, id="a stranger of another bucket"),
    pytest.param(for_user(HERE[4]), "dead", "unknown_user", id="a stranger"),
    pytest.param(for_user(HERE[0], category="?"), "dead", "unknown_category", id="an unknown category"),
    pytest.param(for_user(HERE[4], category="?"), "dead", "unknown_category", id="a stranger's unknown category"),
    pytest.param(
        for_user(HERE[0], category="security"), "dead", "category_not_allowed", id="another system's category"
    ),
    pytest.param(
        for_user(HERE[3], category="security"),
        "dead",
        "category_not_allowed",
        id="another system's category, elsewhere",
    ),
    pytest.param(for_user(HERE[0], template="payment_recieved"), "dead", "unknown_template", id="a misspelt template"),
    pytest.param(for_user(HERE[0], template="offer"), "dead", "unknown_template", id="another category's template"),
    pytest.param(
        for_user(HERE[0], template="?", title="T", body="B"),
        "dead",
        "unknown_template",
        id="a misspelt template and a text",
    ),
    pytest.param(for_user(HERE[0], template=..., title="T", body="B"), "notified", None, id="a text of its own"),
    pytest.param(for_user(HERE[0], data=...), "dead", "missing_variable", id="a template without data"),
    pytest.param(for_user(HERE[0], data={"Amount": "1"}), "dead", "missing_variable", id="a misspelt variable"),
    pytest.param(for_user(HERE[0], data={"amount": None}), "dead", "missing_variable", id="a variable that is null"),
    pytest.param(for_user(HERE[0], data={"amount": ""}), "notified", None, id="a variable that is empty"),
    pytest.param(for_user(HERE[0], data=..., template=..., title="T", body="B"), "notified", None, id="no template"),
    pytest.param(for_user(HERE[0], body="x" * 11_000), "dead", "too_large", id="too large"),
    pytest.param(b"x" * 1_000_000, "dead", "too_large", id="1 MB"),
    pytest.param(None, "dead", "not_json", id="no value"),
    pytest.param(b"hello", "dead", "not_json", id="not JSON"),
    pytest.param(b"[]", "dead", "invalid", id="not an object"),
    pytest.param(ARecord(for_user(HERE[3]), headers=(("hops", b"2"),)), "forwarded", None, id="a client's own hops"),
    pytest.param(ARecord(for_user(HERE[3]), headers=(("epoch", b"9"),)), "forwarded", None, id="a client's own epoch"),
    pytest.param(ARecord(for_user(HERE[3]), headers=(("hops", None),)), "forwarded", None, id="a null hops header"),
    pytest.param(ARecord(for_user(HERE[0]), headers=(("ce_id", None),)), "notified", None, id="a null id header"),
    pytest.param(ARecord(for_user(HERE[0]), key=b"\xff\xfe"), "notified", None, id="a key that is not UTF-8"),
    pytest.param(ARecord(for_user(HERE[0]), key=None), "notified", None, id="no key"),
]


@pytest.mark.parametrize(("record", "outcome", "reason"), CASES)
async def test_each_record_has_its_outcome(record: Any, outcome: Any, reason: Any) -> None:
    (entry,) = (await route(a_batch(record))).entries
    assert (entry.outcome.value, entry.reason) == (outcome, reason)


@pytest.mark.parametrize(("record", "outcome", "reason"), CASES)
async def test_no_record_changes_what_becomes_of_its_neighbours(record: Any, outcome: Any, reason: Any) -> None:
    good = [for_user(HERE[0], id="before"), for_user(HERE[1], id="after")]
    taken = await route(a_batch(good[0], record, good[1]))
    assert outcomes(taken) == ["notified", outcome, "notified"]
    assert [document_of(taken.entries[place])["trigger_id"] for place in (0, 2)] == ["before", "after"]
    assert [entry.record.offset for entry in taken.entries] == [0, 1, 2]


@pytest.mark.parametrize("lane", ["critical", "standard"])
@pytest.mark.parametrize(
    ("topic", "lane_of_it", "reason"),
    [
        ("triggers.security", "critical", None),
        ("triggers.forwarded", "critical", None),
        ("triggers.marketing", "standard", "category_not_allowed"),
    ],
)
async def test_only_its_systems_use_a_category_and_its_lane(
    lane: str, topic: str, lane_of_it: str, reason: Any
) -> None:
    asking = for_user(HERE[0], category="security", template="password_changed", isCritical=True)
    taken = await route(a_batch(asking, topic=topic), lane)
    assert [entry.reason for entry in taken.entries] == ([reason] if lane == lane_of_it else [])


async def test_a_missing_variable_is_named_and_no_value_is() -> None:
    (entry,) = (await route(a_batch(for_user(HERE[0], data={"secret": "4711"})))).entries
    ((*_, headers),) = entry.outputs
    detail = dict(headers)["detail"].decode()
    assert detail == "template 'payment_received' needs amount in `data`"


async def test_the_persons_locale_and_time_zone_are_in_the_message() -> None:
    people = FakeRecipients()
    people.add(HERE[0], locale="pt-BR", time_zone="America/Bahia")
    (entry,) = (await route(a_batch(for_user(HERE[0], channels=["push"])), people=people)).entries
    message = read_channel_message(entry.outputs[0][3])
    assert (message.locale, message.time_zone) == ("pt-BR", "America/Bahia")


async def test_a_stranger_is_sent_to_the_partition_that_kafka_would_choose() -> None:
    (entry,) = (await route(a_batch(ARecord(for_user("stranger"), key=None)))).entries
    ((topic, partition, key, *_),) = entry.outputs
    assert (topic, partition, key) == ("triggers.payments", bucket_of("stranger", PARTITIONS), b"stranger")


async def test_someone_known_is_sent_to_where_the_row_says() -> None:
    people = FakeRecipients()
    people.add("x", bucket=6)
    (entry,) = (await route(a_batch(for_user("x")), people=people)).entries
    assert entry.outputs[0][1] == 6


async def test_a_moved_record_arrives_where_it_is_not_moved_again() -> None:
    people = known_people()
    for user in ("stranger", *ELSEWHERE):
        first = await route(a_batch(for_user(user)), people=people)
        ((topic, partition, key, value, headers),) = first.entries[0].outputs
        again = await route(a_batch(ARecord(value, key, headers), topic=topic, partition=partition), people=people)
        assert outcomes(again) != ["repartitioned"]


async def test_preferences_go_to_the_people_they_belong_to() -> None:
    """Rejections stand between the triggers: a row that slipped by one would opt out a neighbour."""
    people = known_people()
    people.add(HERE[1], choices={1: {"push": False}})
    batch = a_batch(for_user(HERE[0], id="a"), b"bad", for_user(HERE[1], id="b"), b"worse", for_user(HERE[2], id="c"))
    taken = await route(batch, people=people)
    assert people.asked == [[HERE[0], HERE[1], HERE[2]]]
    states = [document_of(taken.entries[place])["deliveries"]["push"]["state"] for place in (0, 2, 4)]
    assert states == ["queued", "suppressed", "queued"]
    assert document_of(taken.entries[2])["preference_version"] == 1


async def test_choices_of_another_category_do_not_count() -> None:
    people = known_people()
    people.add(HERE[0], choices={2: {"push": False}})
    (entry,) = (await route(a_batch(for_user(HERE[0])), people=people)).entries
    assert document_of(entry)["deliveries"]["push"]["state"] == "queued"


@pytest.mark.parametrize(
    ("lane", "taken_ids"), [("critical", ["urgent", "by header"]), ("standard", ["plain", "not allowed"])]
)
async def test_each_lane_takes_its_own_and_counts_the_rest(lane: str, taken_ids: Any) -> None:
    batch = a_batch(
        for_user(HERE[0], id="urgent", isCritical=True),
        for_user(HERE[0], id="plain"),
        ARecord(for_user(HERE[0], id="by header"), headers=(("critical", b"1"),)),
        for_user(
            HERE[0], id="not allowed", category="marketing", isCritical=True, template="offer", data={"offer": "x"}
        ),
        topic="triggers.forwarded",
    )
    taken = await route(batch, lane)
    assert [document_of(entry)["trigger_id"] for entry in taken.entries] == taken_ids
    assert {document_of(entry)["lane"] for entry in taken.entries} == {lane}
    assert (taken.other_lane, taken.holes) == (2, 0)


async def test_lost_positions_are_no_holes() -> None:
    taken = await route(a_batch(start=10, end=20, lost=7))
    assert (taken.entries, taken.lost, taken.holes) == ([], 7, 3)


async def test_holes_are_positions_without_a_record() -> None:
    taken = await route(a_batch(for_user(HERE[0]), b"bad", start=10, end=20))
    assert (taken.start, taken.end, len(taken.entries), taken.other_lane, taken.holes) == (10, 20, 2, 0, 8)


async def test_an_empty_batch_asks_nothing_and_changes_nothing() -> None:
    taken = await route(a_batch(start=7, end=7))
    assert (taken.entries, taken.other_lane, taken.holes) == ([], 0, 0)


async def test_preferences_that_cannot_be_had_are_waited_for() -> None:
    """An error here would end the agent; the batch would never be acknowledged, and its partition stand still."""
    people = known_people()
    people.troubles = [RetryLater("neither Redis nor MongoDB answers")]
    assert outcomes(await route(a_batch(for_user(HERE[0])), people=people)) == ["notified"]
    assert len(people.asked) == 2


async def test_what_a_batch_says_is_kept_for_its_acknowledgement() -> None:
    acks = AckRecorder()
    router = Router(SETTINGS, CATEGORIES, TEMPLATES, "standard", known_people(), FakePlacements())
    batch = a_batch(for_user(HERE[0]), topic="triggers.security", start=5)
    taken = await router.decide_batch(batch, acks)
    assert taken.ack_handle is acks
    assert taken.source == ("triggers.security", 3)


def test_an_id_that_was_used_for_something_else_is_a_dead_letter_that_says_so() -> None:
    from tests.builders import an_outcome

    entry = id_conflict(an_outcome(offset=8), "triggers.payments", 3)
    assert is_dead(entry, "id_conflict")
    assert b"used before" in dict(entry.outputs[0][4])["detail"]


texts = st.text(st.characters(codec="utf-8"), max_size=20)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
instants = st.sampled_from(
    [
        "2026-11-22T10:00:00Z",
        "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59-23:59",
        "2026-11-22T10:00:00.123456+01:00",
    ]
)
fields = st.fixed_dictionaries(
    {},
    optional={
        "id": texts | anything,
        "user_id": st.sampled_from([*HERE, *ELSEWHERE]) | texts | anything,
        "category": st.sampled_from([*CATEGORIES, "?"]) | anything,
        "channels": st.none() | st.lists(st.sampled_from(["push", "sms", "email", "pigeon"])) | anything,
        "template": texts | anything,
        "title": texts | anything,
        "body": texts | anything,
        "data": st.dictionaries(texts, anything) | anything,
        "isCritical": st.booleans() | anything,
        "created_at": instants | anything,
        "expires_at": instants | anything,
        "collapse_key": texts | anything,
        "test": st.booleans() | anything,
    },
)
sent = st.none() | st.binary() | fields.map(lambda said: json.dumps(trigger_fields(**said)).encode())
records = st.builds(
    ARecord,
    sent,
    st.none() | st.binary(max_size=10),
    st.lists(
        st.tuples(
            st.sampled_from(["critical", "ce_id", "hops", "origin", "traceparent"]) | texts,
            st.none() | st.sampled_from([b"1", b"2"]) | st.binary(max_size=6),
        ),
        max_size=3,
    ).map(tuple),
)


@given(sent=st.lists(records, max_size=6), lane=st.sampled_from(["critical", "standard"]), start=st.integers(0, 2**40))
async def test_whatever_was_sent_is_routed_and_accounted(sent: Any, lane: Any, start: int) -> None:
    people = known_people()
    taken = await route(a_batch(*sent, start=start), lane, people)
    assert len(taken.entries) + taken.other_lane == len(sent)
    assert taken.holes == 0
    flush = plan_flush("f", lane, [taken], people.known_contacts[HERE[0]].updated_at)
    (step,) = flush.steps
    assert step.counts["taken"] == sum(
        step.counts[name] for name in ("notified", "forwarded", "repartitioned", "dead", "duplicate")
    )
    assert step.end - step.start == step.counts["taken"] + step.counts["other_lane"] + step.counts["holes"]


async def test_a_decision_has_the_time_of_its_bucket() -> None:
    """By that of its shard (`NotifyApp.shard_now`): the check before the call asks how old it is."""
    at = datetime(2026, 11, 30, 12, 0, 0, 123_456, UTC)
    asked: list[int] = []

    def now(bucket: int) -> datetime:
        asked.append(bucket)
        return at

    router = Router(SETTINGS, CATEGORIES, TEMPLATES, "standard", known_people(), FakePlacements(), now=now)
    decided = await router.decide_batch(a_batch(for_user(HERE[0])), AckRecorder())
    (entry,) = decided.entries
    message = read_channel_message(entry.outputs[0][3])
    assert asked == [3] and message.decided_at == at.replace(microsecond=123_000)
    assert document_of(entry)["decided_at"].replace(tzinfo=UTC) == message.decided_at
