"""A second message of a delivery is a duplicate as long as the first one's attempt is not durable."""

from __future__ import annotations

from notify_streams.delivery.delivery_ledger import OwnedLedger, Token
from notify_streams.delivery.partition import Entry, Partition
from notify_streams.records.outcomes import DeliveryState
from tests.builders import AckRecorder


def test_a_second_message_is_a_duplicate_until_the_step_of_the_first_is_durable() -> None:
    ledger = OwnedLedger(partition=3, next_offset=0, claimed_to=0, last_flush="", seen={})
    partition = Partition(ledger, Token(1), 0, 0.0)
    first = Entry(0, "triggers.payments", 7, b"key")
    partition.add(1, 0, [first], AckRecorder())
    assert partition.is_new(first) and partition.open(first)
    first.count_first(DeliveryState.SENT)
    step = partition.advance()
    second = Entry(1, "triggers.payments", 7, b"key")
    assert step.end == 1 and not partition.is_new(second)
    assert not partition.open(second), "its attempt may not be stored yet: a look-up would find nothing"
    partition.committed(step)
    assert partition.open(second)
