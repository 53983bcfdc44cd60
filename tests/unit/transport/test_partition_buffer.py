"""What waits merges, is bounded, and is handed out without gaps."""

import pytest

from notify_streams.transport.partition_buffer import AppendResult, Bounds, PartitionBuffer
from tests.unit.transport.transport_builders import a_stretch


def a_lane(
    position: int = 0, committed: int | None = None, records: int = 1000, size: int = 1_000_000
) -> PartitionBuffer:
    return PartitionBuffer("t", 0, position, committed, Bounds(records, size))


def offsets(batch) -> list[int]:
    return [record.offset for record in batch.records]


def test_what_is_fetched_while_the_agent_is_busy_becomes_one_batch() -> None:
    lane = a_lane()
    for start in (0, 10, 20):
        assert lane.offer(a_stretch(start, start + 10)) is AppendResult.TAKEN
    batch, _ = lane.take()
    assert (batch.start, batch.end, len(batch)) == (0, 30, 30)
    assert not lane.has_waiting


def test_batches_follow_each_other_over_holes() -> None:
    lane = a_lane()
    lane.offer(a_stretch(0, 10, holes=frozenset({8, 9})))
    first, _ = lane.take()
    lane.offer(a_stretch(10, 20, holes=frozenset({10, 11})))
    second, _ = lane.take()
    assert (first.start, first.end, first.last_offset) == (0, 10, 7)
    assert (second.start, second.end, second.base_offset) == (10, 20, 12)


def test_a_hole_between_batches_belongs_to_the_next_one() -> None:
    lane = a_lane()
    lane.offer(a_stretch(0, 5))
    lane.take()
    lane.offer(a_stretch(5, 9, holes=frozenset(range(5, 9))))
    assert not lane.has_waiting
    lane.offer(a_stretch(9, 12))
    batch, _ = lane.take()
    assert (batch.start, batch.end, offsets(batch)) == (5, 12, [9, 10, 11])


def test_a_trailing_hole_is_committed_with_the_batch_before_it() -> None:
    lane = a_lane()
    lane.offer(a_stretch(0, 5))
    _, delivery = lane.take()
    lane.offer(a_stretch(5, 9, holes=frozenset(range(5, 9))))
    assert lane.to_commit() == 0
    lane.prefix.ack(delivery)
    assert lane.to_commit() == 9


@pytest.mark.parametrize(
    ("records", "size", "expected"),
    [
        pytest.param(4, 1_000_000, [4, 4, 2], id="by records"),
        pytest.param(1000, 6, [3, 3, 3, 1], id="by bytes"),
        pytest.param(1000, 1, [1] * 10, id="a record over the bound comes alone"),
    ],
)
def test_a_batch_keeps_its_bounds(records: int, size: int, expected: list[int]) -> None:
    lane = a_lane(records=records, size=size)
    lane.offer(a_stretch(0, 10))
    assert lane.full
    batches = []
    while lane.has_waiting:
        batches.append(lane.take()[0])
    assert [len(batch) for batch in batches] == expected
    assert [batch.start for batch in batches] == [0, *(batch.end for batch in batches[:-1])]
    assert batches[-1].end == 10
    assert not lane.full


def test_several_stretches_are_cut_at_the_bound_without_loss() -> None:
    lane = a_lane(records=7)
    for start in range(0, 20, 5):
        lane.offer(a_stretch(start, start + 5))
    seen = []
    while lane.has_waiting:
        seen += offsets(lane.take()[0])
    assert seen == list(range(20))


def test_a_stretch_from_before_a_seek_is_stale() -> None:
    lane = a_lane(position=10)
    assert lane.offer(a_stretch(0, 10)) is AppendResult.STALE


def test_a_stretch_that_overlaps_is_trimmed() -> None:
    lane = a_lane(position=5)
    lane.offer(a_stretch(0, 10))
    batch, _ = lane.take()
    assert (batch.start, offsets(batch)) == (5, [5, 6, 7, 8, 9])


def test_a_gap_between_positions_is_not_taken() -> None:
    lane = a_lane()
    assert lane.offer(a_stretch(3, 9)) is AppendResult.GAP
    lane.accept_hole(3)
    assert lane.offer(a_stretch(3, 9)) is AppendResult.TAKEN
    assert lane.take()[0].start == 0


def test_after_a_refusal_nothing_of_before_counts() -> None:
    lane = a_lane()
    lane.offer(a_stretch(0, 10))
    _batch, delivery = lane.take()
    old = lane.prefix
    lane.offer(a_stretch(10, 20))
    lane.restart(4)
    old.ack(delivery)
    assert lane.to_commit() == 4
    assert lane.take()[0].records == ()
    assert lane.offer(a_stretch(20, 30)) is AppendResult.GAP
    assert lane.offer(a_stretch(4, 30)) is AppendResult.TAKEN
    assert offsets(lane.take()[0]) == list(range(4, 30))


def test_a_closed_lane_hands_out_nothing_and_still_commits() -> None:
    lane = a_lane()
    lane.offer(a_stretch(0, 10))
    _, delivery = lane.take()
    lane.offer(a_stretch(10, 20))
    lane.close()
    assert lane.offer(a_stretch(20, 30)) is AppendResult.STALE
    empty, nothing = lane.take()
    assert len(empty) == 0 and nothing is None
    lane.prefix.ack(delivery)
    assert lane.to_commit() == 10


def test_what_kafka_has_already_is_not_committed_again() -> None:
    lane = a_lane(position=7, committed=7)
    assert lane.to_commit() is None
    ahead = a_lane(position=9, committed=7)
    assert ahead.to_commit() == 9


@pytest.mark.parametrize("bounds", [{"records": 10}, {"size": 20}], ids=["records", "bytes"])
def test_an_agent_has_two_full_batches_in_hand_at_most(bounds: dict[str, int]) -> None:
    lane = a_lane(**bounds)
    deliveries = []
    for start in range(0, 40, 10):
        lane.offer(a_stretch(start, start + 10))
        if not lane.busy:
            deliveries.append(lane.take()[1])
    assert [delivery.end for delivery in deliveries] == [10, 20]
    lane.prefix.ack(deliveries[1])
    assert lane.busy, "what lies before it is still in hand"
    lane.prefix.ack(deliveries[0])
    assert not lane.busy and lane.prefix.open_bytes == 0


def test_small_batches_may_be_many() -> None:
    lane = a_lane(records=10)
    for start in range(19):
        lane.offer(a_stretch(start, start + 1))
        assert not lane.busy
        lane.take()
