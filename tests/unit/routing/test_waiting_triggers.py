"""A trigger that overtakes its user's sign-up is read again, for a while."""

from datetime import UTC, datetime, timedelta

import bson
import msgspec
import pytest

from notify_streams.outbox.outcome_notes import notes_of
from notify_streams.records.outcomes import DeadReason, TriggerOutcome
from notify_streams.roles import Lane
from notify_streams.routing.waiting_triggers import next_look, waiting
from tests.builders import ABatch, ARecord, is_dead
from tests.unit.routing.routing_fixtures import HERE, for_user, known_people, route

NOW = datetime(2026, 11, 28, 3, 0, tzinfo=UTC)


def aged(seconds: float) -> ARecord:
    return ARecord(b"{}", timestamp=int((NOW - timedelta(seconds=seconds)).timestamp() * 1000))


@pytest.mark.parametrize(
    ("age_s", "next_s"), [(0, 1), (0.5, 1), (1, 1), (2, 2), (8, 8), (16, 14), (29, 1), (30, None), (99, None)]
)
def test_the_time_between_two_looks_doubles_within_the_limit(age_s: float, next_s: float | None) -> None:
    found = next_look(aged(age_s), NOW, 30.0)
    assert found == (None if next_s is None else NOW + timedelta(seconds=next_s))


@pytest.mark.parametrize(("age_s", "next_s"), [(1, 1), (8, 8), (29, 1), (31, None)])
def test_a_worker_whose_clock_is_behind_looks_no_more_often_and_no_longer(age_s: int, next_s: int | None) -> None:
    entered_ms = int(NOW.timestamp() * 1000)
    copy = ARecord(b"{}", None, (("origin_ms", b"%d" % entered_ms),), timestamp=entered_ms + age_s * 1000)
    behind = NOW - timedelta(hours=1)
    found = next_look(copy, behind, 30.0)
    assert found == (None if next_s is None else behind + timedelta(seconds=next_s))


def test_without_a_time_to_wait_a_trigger_is_decided_at_once() -> None:
    assert next_look(aged(0), NOW, 0.0) is None


def test_a_timer_holds_the_record_and_where_it_was() -> None:
    record = ARecord(b"v", b"k", (("x", b"1"), ("waited", b"old"), ("origin_ms", b"5")), offset=7, timestamp=5)
    entry = waiting(record, "critical", "triggers.payments", 3, NOW)
    assert entry.outcome is TriggerOutcome.WAITING and not entry.outputs and entry.timer is not None
    assert (entry.timer["bucket"], entry.timer["role"], entry.timer["due_at"]) == (3, "critical", NOW)
    topic, key, value, headers = msgspec.msgpack.decode(entry.timer["record"])
    assert (topic, key, value) == ("triggers.payments", b"k", b"v")
    source = b"triggers.payments:3:7"
    assert dict(headers) == {"x": b"1", "origin_ms": b"5", "source": source, "waited": source}
    other = waiting(ARecord(b"v", offset=8), "critical", "triggers.payments", 3, NOW)
    assert other.timer is not None and other.timer["_id"] != entry.timer["_id"]


def test_the_timers_of_two_lanes_or_topics_for_one_position_have_two_ids() -> None:
    """A flush with an id that is there is refused, and the other partitions of the shard wait with it until that timer is gone."""
    cases: list[tuple[Lane, int]] = [("critical", 5), ("standard", 5), ("standard", 6), ("standard", 6)]
    ids = [
        entry.timer["_id"]
        for lane, timestamp in cases
        if (entry := waiting(ARecord(b"v", offset=7, timestamp=timestamp), lane, "t", 3, NOW)).timer is not None
    ]
    assert len(ids) == 4 and len(set(ids)) == 3 and ids[2] == ids[3]


async def test_a_young_trigger_of_an_unknown_user_waits_and_an_old_one_is_dead() -> None:
    now_ms = int(datetime.now(UTC).timestamp() * 1000)
    young, old = (ARecord(for_user(HERE[4]), timestamp=now_ms - age_s * 1000) for age_s in (1, 31))
    waited, dead = (await route(ABatch([young, old], partition=3, end=2))).entries
    assert waited.outcome is TriggerOutcome.WAITING
    assert is_dead(dead, DeadReason.UNKNOWN_USER)


async def test_a_young_trigger_of_a_new_user_without_contacts_waits() -> None:
    now_ms = int(datetime.now(UTC).timestamp() * 1000)
    people = known_people()
    people.recent = set(HERE[:2])
    del people.known_contacts[HERE[0]], people.known_contacts[HERE[2]]
    young = [ARecord(for_user(user, id=user), offset=at, timestamp=now_ms) for at, user in enumerate(HERE[:3])]
    old = ARecord(for_user(HERE[0], id="old"), offset=3, timestamp=now_ms - 31_000)
    decided = await route(ABatch([*young, old], partition=3, end=4), people=people)
    assert [one.outcome for one in decided.entries] == [
        TriggerOutcome.WAITING,  # new, without contacts
        TriggerOutcome.NOTIFIED,  # new, with contacts
        TriggerOutcome.NOTIFIED,  # known for long, without contacts
        TriggerOutcome.NOTIFIED,  # it has waited long enough
    ]


@pytest.mark.parametrize("timestamp", [-(2**62), 2**62])
async def test_an_impossible_time_of_a_record_stops_nothing(timestamp: int) -> None:
    """A client has chosen it, in a topic with `CreateTime`."""
    records = [
        ARecord(for_user(user, id=user), offset=at, timestamp=timestamp)
        for at, user in enumerate((HERE[0], HERE[4], HERE[3]))
    ]
    decided = await route(ABatch([*records, ARecord(b"{}", offset=3, timestamp=timestamp)], partition=3, end=4))
    notified, unknown, forwarded, dead = decided.entries
    assert notified.document is not None
    entered = bson.decode(notified.document.raw)["entered_at"]
    assert entered.year in (1970, 9999)
    waits = timestamp > 0
    assert (unknown.outcome is TriggerOutcome.WAITING) == waits and (waits or is_dead(unknown, DeadReason.UNKNOWN_USER))
    assert (forwarded.outcome, dead.outcome) == (TriggerOutcome.FORWARDED, TriggerOutcome.DEAD)
    notes = list(notes_of([decided], NOW))
    assert {note["entered_at"].year for note in notes} == {entered.year}
