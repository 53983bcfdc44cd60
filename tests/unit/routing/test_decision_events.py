"""A system's events of decisions: deliveries that end there, dead letters, no other's, no contact."""

from typing import Any

import pytest

from notify_streams.outbox.flush_plan import plan_flush
from notify_streams.records.notification_event import NotificationEvent, read_event
from notify_streams.routing.decision_events import DecisionEvents
from notify_streams.routing.outcome_records import bad_record, id_conflict
from notify_streams.topics import FORWARDED
from tests.builders import NOON, ARecord, a_batch, a_decided_batch, an_outcome, some_settings
from tests.unit.routing.routing_fixtures import HERE, for_user, route

TOPIC = "notification_events.payments"


async def events_of(record: bytes | ARecord, **but: Any) -> list[tuple[str, NotificationEvent]]:
    (entry,) = (await route(a_batch(record, start=7, **but))).entries
    return [(topic, read_event(value)) for topic, _, _, value, _ in entry.events]


async def test_a_delivery_that_is_suppressed_at_the_decision_has_an_event() -> None:
    found = await events_of(for_user(HERE[0], channels=["push", "sms"]))
    ((topic, event),) = found
    assert topic == TOPIC
    assert (event.state, event.reason, event.channel, event.attempt) == ("suppressed", "not_opted_in", "sms", 0)
    assert (event.trigger_id, event.user_id, event.category) == ("t-1", HERE[0], "payments")
    assert event.event_id == f"{event.notification_id}.sms:0:suppressed"
    again = await events_of(for_user(HERE[0], channels=["push", "sms"]))
    assert again[0][1].event_id == event.event_id


async def test_a_queued_delivery_has_no_event_yet() -> None:
    assert await events_of(for_user(HERE[0], channels=["push"])) == []


@pytest.mark.parametrize(
    ("value", "reason", "known"),
    [
        pytest.param(b"{", "not_json", (None, None), id="no JSON"),
        pytest.param(for_user(HERE[0], category="?"), "unknown_category", ("t-1", HERE[0]), id="a known trigger"),
        pytest.param(for_user(HERE[0], body="x" * 20_000), "too_large", (None, None), id="not read again"),
    ],
)
async def test_a_dead_letter_has_an_event_with_its_place(value: bytes, reason: str, known: tuple[Any, Any]) -> None:
    ((topic, event),) = await events_of(value)
    assert (topic, event.state, event.reason) == (TOPIC, "dead", reason)
    assert event.event_id == "us:triggers.payments:3:7:dead" and event.source == "triggers.payments:3:7"
    assert (event.trigger_id, event.user_id) == known


async def test_the_event_of_a_forwarded_trigger_is_for_the_system_where_it_entered() -> None:
    headers = (("hops", b"1"), ("system", b"payments"), ("source", b"triggers.payments:3:99"))
    ((topic, event),) = await events_of(ARecord(for_user(HERE[4]), headers=headers), topic=FORWARDED)
    assert (topic, event.reason, event.source) == (TOPIC, "unknown_user", "triggers.payments:3:99")
    found = await events_of(ARecord(for_user(HERE[0], channels=["push", "sms"]), headers=headers), topic=FORWARDED)
    assert [topic for topic, _ in found] == [TOPIC]


async def test_a_client_cannot_name_another_system() -> None:
    """On a system's own topic its headers are those of any client."""
    found = await events_of(ARecord(b"{", headers=(("system", b"security"), ("source", b"x"))))
    assert [(topic, event.source) for topic, event in found] == [(TOPIC, "triggers.payments:3:7")]


async def test_an_unknown_system_has_no_topic() -> None:
    assert await events_of(ARecord(b"{", headers=(("system", b"unknown"),)), topic=FORWARDED) == []
    assert await events_of(b"{", topic=FORWARDED) == []


def test_a_system_without_events_has_none() -> None:
    events = DecisionEvents(some_settings(notification_events={"payments": False}))
    outcome = events.after(id_conflict)(an_outcome(), "triggers.payments", 3)
    assert outcome.reason == "id_conflict" and not outcome.events


@pytest.mark.parametrize("make", [id_conflict, bad_record])
def test_a_dead_letter_of_the_flush_has_an_event_and_the_ledger_does_not_count_it(make: Any) -> None:
    outcome = DecisionEvents(some_settings()).after(make)(an_outcome(), "triggers.payments", 3)
    flush = plan_flush("f", "standard", [a_decided_batch(outcome)], NOON)
    assert {row.topic: len(row.records) for row in flush.rows} == {"dead_letters": 1, TOPIC: 1}
    (step,) = flush.steps
    assert not any(name.startswith("queued") for name in step.counts)


async def test_the_ledger_counts_no_event_as_queued() -> None:
    batch = await route(a_batch(for_user(HERE[0], channels=["push", "sms"])))
    flush = plan_flush("f", "standard", [batch], NOON)
    (step,) = flush.steps
    assert {name for name in step.counts if name.startswith("queued")} == {"queued.push"}
    assert {row.topic for row in flush.rows} == {"push", TOPIC}
