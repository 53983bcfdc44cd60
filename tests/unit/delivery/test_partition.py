"""The rules of one partition: what is new without a read, what is claimed ahead, when a second message is a duplicate."""

from __future__ import annotations

from typing import Any

import pytest

from notify_streams.delivery.delivery_ledger import OwnedLedger, Token
from notify_streams.delivery.partition import MIN_AHEAD, Entry, Partition
from notify_streams.records.outcomes import DeliveryState
from tests.builders import AckRecorder

TOPIC = "triggers.payments"


def a_partition(**but: Any) -> Partition:
    ledger: dict[str, Any] = {"partition": 3, "next_offset": 0, "claimed_to": 0, "last_flush": "", "seen": {}} | but
    return Partition(OwnedLedger(**ledger), Token(1), 0, 0.0)


def test_a_second_message_is_a_duplicate_until_the_step_of_the_first_is_durable() -> None:
    partition = a_partition()
    first = Entry(0, TOPIC, 7, b"key")
    partition.add(1, 0, [first], AckRecorder())
    assert partition.is_new(first) and partition.open(first)
    first.count_first(DeliveryState.SENT)
    step = partition.advance()
    second = Entry(1, TOPIC, 7, b"key")
    assert step.end == 1 and not partition.is_new(second)
    assert not partition.open(second), "its attempt may not be stored yet: a look-up would find nothing"
    partition.committed(step)
    assert partition.open(second)


@pytest.mark.parametrize(
    ("entry", "is_new"),
    [
        pytest.param(Entry(10, TOPIC, 51), True, id="above the highest position of its source"),
        pytest.param(Entry(10, TOPIC, 50), False, id="at it"),
        pytest.param(Entry(10, "triggers.app", 0), True, id="another source"),
        pytest.param(Entry(10), False, id="without a position"),
        pytest.param(Entry(4, TOPIC, 51), False, id="a call may have begun before this assignment"),
    ],
)
def test_a_message_above_what_was_seen_is_new_without_a_read(entry: Entry, is_new: bool) -> None:
    assert a_partition(claimed_to=5, seen={TOPIC: 50}).is_new(entry) is is_new


def test_what_was_seen_moves_with_the_step_that_counts_it() -> None:
    partition = a_partition(seen={TOPIC: 5})
    entries = [Entry(0, TOPIC, 9), Entry(1, TOPIC, 7), Entry(2, TOPIC, 12)]
    partition.add(3, 0, entries, AckRecorder())
    for entry in entries[:2]:
        entry.count_first(DeliveryState.SENT)
    assert (partition.advance().end, partition.seen) == (2, {TOPIC: 9})


def test_offsets_are_claimed_ahead_for_what_begins_soon_and_given_back_at_the_end() -> None:
    partition = a_partition(next_offset=100, claimed_to=100)
    assert partition.next_claim(0) == 100 + MIN_AHEAD
    assert partition.next_claim(500) == 600
    partition.wanted_to = 700
    assert partition.next_claim(10) == 700 + MIN_AHEAD
    partition.claimed_to = 5_000
    assert partition.next_claim(0) == 5_000
    partition.active = False
    assert partition.next_claim(0) == 700


def test_what_an_earlier_owner_may_have_called_is_not_given_back() -> None:
    partition = a_partition(next_offset=100, claimed_to=164)
    partition.claimed_to = 300
    partition.active = False
    assert partition.next_claim(0) == 164
    partition.next_offset = 200
    assert partition.next_claim(0) == 200


def test_the_first_position_of_a_source_is_seen_too() -> None:
    partition = a_partition()
    first = Entry(0, TOPIC, 0)
    partition.add(1, 0, [first], AckRecorder())
    first.count_first(DeliveryState.SENT)
    partition.advance()
    assert partition.seen == {TOPIC: 0}
    assert not a_partition(seen=partition.seen).is_new(Entry(1, TOPIC, 0)), "another message of it is looked up"


@pytest.mark.parametrize(("source_offset", "was_counted"), [(49, True), (50, True), (51, False), (-1, True)], ids=str)
def test_a_stored_outcome_was_counted_if_its_source_was_seen(source_offset: int, was_counted: bool) -> None:
    """One above was stored by a worker that was replaced, and was not counted."""
    partition = a_partition(seen={TOPIC: 50})
    assert partition.was_counted(Entry(10, TOPIC, source_offset)) is was_counted
    assert not partition.was_counted(Entry(10, "triggers.app", 0))


def test_positions_that_kafka_deleted_are_lost_and_the_other_gaps_are_holes() -> None:
    """Of 10 positions from 100 on, Kafka deleted the first 4; 105 and 109 have markers of transactions."""
    partition = a_partition(next_offset=100, claimed_to=100)
    entries = [Entry(offset, TOPIC, offset) for offset in (104, 106, 107, 108)]
    partition.add(110, 4, entries, AckRecorder())
    for entry in entries[:2]:
        entry.count_first(DeliveryState.SENT)
    first = partition.advance()
    assert (first.end, first.counts) == (107, {"taken": 2, "fresh": 2, "sent": 2, "lost": 4, "holes": 1})
    for entry in entries[2:]:
        entry.count_first(DeliveryState.SENT)
    second = partition.advance()
    assert (second.end, second.counts) == (110, {"taken": 2, "fresh": 2, "sent": 2, "holes": 1})
