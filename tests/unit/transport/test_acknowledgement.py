"""The committed offset is the end of the longest acknowledged prefix."""

import pytest

from notify_streams.transport.acknowledgement import AckedPrefix


def test_an_ack_behind_an_unacknowledged_batch_does_not_move_the_position() -> None:
    prefix = AckedPrefix(0)
    first, second = prefix.deliver(10), prefix.deliver(20)
    assert not prefix.ack(second)
    assert prefix.position == 0
    assert prefix.ack(first)
    assert prefix.position == 20


def test_the_first_batch_after_the_start_is_not_skipped() -> None:
    prefix = AckedPrefix(2585)
    head, tail = prefix.deliver(2586), prefix.deliver(2590)
    prefix.ack(tail)
    assert prefix.position == 2585
    prefix.ack(head)
    assert prefix.position == 2590


def test_a_second_ack_changes_nothing() -> None:
    prefix = AckedPrefix(5)
    delivered = prefix.deliver(9)
    assert prefix.ack(delivered)
    assert not prefix.ack(delivered)


def test_holes_are_committed_once_everything_before_them_is_acknowledged() -> None:
    prefix = AckedPrefix(0)
    delivered = prefix.deliver(10)
    prefix.skip(15)
    assert prefix.position == 0
    prefix.ack(delivered)
    assert prefix.position == 15


def test_a_hole_with_nothing_in_flight_is_skipped_at_once() -> None:
    prefix = AckedPrefix(3)
    prefix.skip(7)
    assert prefix.position == 7
    assert prefix.all_acked


def test_a_hole_before_a_batch_is_skipped_before_the_batch_is_acknowledged() -> None:
    prefix = AckedPrefix(0)
    prefix.skip(5)
    delivered = prefix.deliver(9)
    assert prefix.position == 5
    prefix.ack(delivered)
    assert prefix.position == 9


def test_delivering_backwards_is_refused() -> None:
    prefix = AckedPrefix(10)
    with pytest.raises(ValueError, match="cannot deliver up to 9"):
        prefix.deliver(9)


def test_an_ack_moves_the_position_only_to_the_next_unacknowledged_batch() -> None:
    prefix = AckedPrefix(0)
    first, _ = prefix.deliver(10), prefix.deliver(20)
    prefix.ack(first)
    assert prefix.position == 10
