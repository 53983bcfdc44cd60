"""A partition buffer merges fetched ranges, keeps its bounds, and delivers without gaps."""

import pytest

from notify_streams.transport.partition_buffer import AppendResult
from notify_streams.transport.record_batch import RecordBatch
from tests.unit.transport.transport_builders import a_buffer, a_fetched_range, delivered


def offsets(batch: RecordBatch) -> list[int]:
    return [record.offset for record in batch.records]


def test_what_is_fetched_while_the_agent_is_busy_becomes_one_batch() -> None:
    buffer = a_buffer()
    for start in (0, 10, 20):
        assert buffer.append(a_fetched_range(start, start + 10)) is AppendResult.APPENDED
    batch, _ = buffer.next_batch()
    assert (batch.start, batch.end, len(batch)) == (0, 30, 30)
    assert not buffer.has_records


def test_batches_follow_each_other_over_holes() -> None:
    buffer = a_buffer()
    buffer.append(a_fetched_range(0, 10, holes=frozenset({8, 9})))
    first, _ = buffer.next_batch()
    buffer.append(a_fetched_range(10, 20, holes=frozenset({10, 11})))
    second, _ = buffer.next_batch()
    assert (first.start, first.end, offsets(first)[-1]) == (0, 10, 7)
    assert (second.start, second.end, offsets(second)[0]) == (10, 20, 12)


def test_a_hole_between_batches_belongs_to_the_next_one() -> None:
    buffer = a_buffer()
    buffer.append(a_fetched_range(0, 5))
    buffer.next_batch()
    buffer.append(a_fetched_range(5, 9, holes=frozenset(range(5, 9))))
    assert not buffer.has_records
    buffer.append(a_fetched_range(9, 12))
    batch, _ = buffer.next_batch()
    assert (batch.start, batch.end, offsets(batch)) == (5, 12, [9, 10, 11])


def test_a_trailing_hole_is_committed_with_the_batch_before_it() -> None:
    buffer = a_buffer()
    buffer.append(a_fetched_range(0, 5))
    _, first = delivered(buffer)
    buffer.append(a_fetched_range(5, 9, holes=frozenset(range(5, 9))))
    assert buffer.offset_to_commit() == 0
    buffer.prefix.ack(first)
    assert buffer.offset_to_commit() == 9


@pytest.mark.parametrize(
    ("records", "size", "expected"),
    [
        pytest.param(4, 1_000_000, [4, 4, 2], id="by records"),
        pytest.param(1000, 6, [3, 3, 3, 1], id="by bytes"),
        pytest.param(1000, 1, [1] * 10, id="a record over the bound is alone"),
    ],
)
def test_a_batch_keeps_its_bounds(records: int, size: int, expected: list[int]) -> None:
    buffer = a_buffer(records=records, size=size)
    buffer.append(a_fetched_range(0, 10))
    assert buffer.full
    batches = []
    while buffer.has_records:
        batches.append(buffer.next_batch()[0])
    assert [len(batch) for batch in batches] == expected
    assert [batch.start for batch in batches] == [0, *(batch.end for batch in batches[:-1])]
    assert batches[-1].end == 10
    assert not buffer.full


def test_several_ranges_are_split_at_the_bound_without_loss() -> None:
    buffer = a_buffer(records=7)
    for start in range(0, 20, 5):
        buffer.append(a_fetched_range(start, start + 5))
    seen = []
    while buffer.has_records:
        seen += offsets(buffer.next_batch()[0])
    assert seen == list(range(20))


def test_a_range_from_before_a_seek_is_stale() -> None:
    buffer = a_buffer(position=10)
    assert buffer.append(a_fetched_range(0, 10)) is AppendResult.STALE


def test_an_overlapping_range_is_trimmed() -> None:
    buffer = a_buffer(position=5)
    buffer.append(a_fetched_range(0, 10))
    batch, _ = buffer.next_batch()
    assert (batch.start, offsets(batch)) == (5, [5, 6, 7, 8, 9])


def test_a_range_behind_a_gap_is_not_appended() -> None:
    buffer = a_buffer()
    assert buffer.append(a_fetched_range(3, 9)) is AppendResult.GAP
    buffer.skip_to(3)
    assert buffer.append(a_fetched_range(3, 9)) is AppendResult.APPENDED
    batch = buffer.next_batch()[0]
    assert (batch.start, batch.end, batch.lost, len(batch.records)) == (0, 9, 3, 6)


def test_lost_positions_are_delivered_without_a_record() -> None:
    buffer = a_buffer()
    buffer.append(a_fetched_range(0, 4))
    buffer.skip_to(10)
    assert buffer.needs_event
    batch = buffer.next_batch()[0]
    assert (batch.start, batch.end, batch.lost, len(batch.records)) == (0, 10, 6, 4)
    buffer.skip_to(10)
    assert not buffer.has_records
    buffer.skip_to(12)
    batch, delivered_range = buffer.next_batch()
    assert (batch.start, batch.end, batch.lost, len(batch.records)) == (10, 12, 2, 0)
    assert delivered_range is not None


def test_after_a_restart_earlier_batches_cannot_be_acknowledged() -> None:
    buffer = a_buffer()
    buffer.append(a_fetched_range(0, 10))
    _, first = delivered(buffer)
    old = buffer.prefix
    buffer.append(a_fetched_range(10, 20))
    buffer.restart(4)
    old.ack(first)
    assert buffer.offset_to_commit() == 4
    assert buffer.next_batch()[0].records == ()
    assert buffer.append(a_fetched_range(20, 30)) is AppendResult.GAP
    assert buffer.append(a_fetched_range(4, 30)) is AppendResult.APPENDED
    assert offsets(buffer.next_batch()[0]) == list(range(4, 30))


def test_a_closed_buffer_delivers_nothing_and_still_commits() -> None:
    buffer = a_buffer()
    buffer.append(a_fetched_range(0, 10))
    _, first = delivered(buffer)
    buffer.append(a_fetched_range(10, 20))
    buffer.close()
    assert buffer.append(a_fetched_range(20, 30)) is AppendResult.STALE
    empty, nothing = buffer.next_batch()
    assert len(empty) == 0 and nothing is None
    buffer.prefix.ack(first)
    assert buffer.offset_to_commit() == 10


def test_a_committed_position_is_not_committed_again() -> None:
    buffer = a_buffer(position=7, committed=7)
    assert buffer.offset_to_commit() is None
    ahead = a_buffer(position=9, committed=7)
    assert ahead.offset_to_commit() == 9


@pytest.mark.parametrize("bounds", [{"records": 10}, {"size": 20}], ids=["records", "bytes"])
def test_an_agent_has_at_most_two_full_batches_unacknowledged(bounds: dict[str, int]) -> None:
    buffer = a_buffer(**bounds)
    ranges = []
    for start in range(0, 40, 10):
        buffer.append(a_fetched_range(start, start + 10))
        if not buffer.unacked_limit_reached:
            ranges.append(delivered(buffer)[1])
    assert [found.end for found in ranges] == [10, 20]
    buffer.prefix.ack(ranges[1])
    assert buffer.unacked_limit_reached, "the batch before it is not acknowledged"
    buffer.prefix.ack(ranges[0])
    assert not buffer.unacked_limit_reached and buffer.prefix.unacked_bytes == 0


def test_small_batches_may_be_many() -> None:
    buffer = a_buffer(records=10)
    for start in range(19):
        buffer.append(a_fetched_range(start, start + 1))
        assert not buffer.unacked_limit_reached
        buffer.next_batch()
