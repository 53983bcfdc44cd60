"""The committed offset is the end of the longest acknowledged prefix."""

import pytest

from notify_streams.transport.acknowledgement import AckedPrefix


def test_an_ack_behind_a_batch_in_flight_moves_nothing() -> None:
    prefix = AckedPrefix(0)
    first, second = prefix.deliver(10), prefix.deliver(20)
    assert not prefix.ack(second)
    assert prefix.position == 0
    assert prefix.ack(first)
    assert prefix.position == 20


def test_nothing_committed_yet_is_no_licence_to_skip_the_head() -> None:
    prefix = AckedPrefix(2585)
    head, tail = prefix.deliver(2586), prefix.deliver(2590)
    prefix.ack(tail)
    assert prefix.position == 2585
    prefix.ack(head)
    assert prefix.position == 2590


def test_a_second_ack_changes_nothing() -> None:
    prefix = AckedPrefix(5)
    delivery = prefix.deliver(9)
    assert prefix.ack(delivery)
    assert not prefix.ack(delivery)


def test_holes_are_committed_once_everything_before_them_is_acknowledged() -> None:
    prefix = AckedPrefix(0)
    delivery = prefix.deliver(10)
    prefix.skip(15)
    assert prefix.position == 0
    prefix.ack(delivery)
    assert prefix.position == 15


def test_a_hole_with_nothing_in_flight_is_passed_at_once() -> None:
    prefix = AckedPrefix(3)
    prefix.skip(7)
    assert prefix.position == 7
    assert prefix.idle


def test_a_batch_after_a_hole_covers_it_and_holds_the_position_at_most_at_the_hole() -> None:
    prefix = AckedPrefix(0)
    prefix.skip(5)
    delivery = prefix.deliver(9)
    assert prefix.position == 5
    prefix.ack(delivery)
    assert prefix.position == 9


def test_delivering_backwards_is_refused() -> None:
    prefix = AckedPrefix(10)
    with pytest.raises(ValueError, match="cannot deliver up to 9"):
        prefix.deliver(9)


def test_an_ack_before_a_batch_in_flight_moves_only_to_it() -> None:
    prefix = AckedPrefix(0)
    first, _ = prefix.deliver(10), prefix.deliver(20)
    prefix.ack(first)
    assert prefix.position == 10
