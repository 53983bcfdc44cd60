"""Which settings may use a region, and where its people were before."""

from __future__ import annotations

import pytest

from notify_streams.records.partitioner import bucket_of
from notify_streams.regions.forwarding.remote_region import remote_partition
from notify_streams.stores.partition_count import PartitionCount


@pytest.mark.parametrize(
    ("count", "partitions", "words"),
    [
        (PartitionCount(8), 8, None),
        (PartitionCount(16, (8,)), 16, None),
        (
            PartitionCount(8),
            16,
            "has 8 partitions, the settings say 16: set `partitions: 8`, or stop the workers and run",
        ),
        (PartitionCount(16, (8,)), 8, "has 16 partitions, the settings say 8: set `partitions: 16`"),
        (PartitionCount(8, (), 16), 8, "run `notify-streams topics grow --partitions 16` to its end"),
        (PartitionCount(8, (), 16), 16, "is growing from 8 to 16 partitions"),
    ],
    ids=[
        "the same",
        "grown",
        "settings too high",
        "settings too low",
        "growing, old settings",
        "growing, new settings",
    ],
)
def test_settings_with_another_number_are_refused_in_one_sentence(
    count: PartitionCount, partitions: int, words: str | None
) -> None:
    problem = count.problem(partitions)
    assert problem is None if words is None else words in (problem or "")
    assert "\n" not in (problem or "")


def test_a_region_cannot_have_fewer_buckets() -> None:
    assert "topics grow" not in (PartitionCount(16).problem(8) or "")


def test_the_former_buckets_of_a_person_are_known_after_two_growths() -> None:
    count = PartitionCount(32, (16, 8))
    for number in range(200):
        user_id = f"u-{number}"
        now, before, first = (bucket_of(user_id, partitions) for partitions in (32, 16, 8))
        assert {now, *count.former_buckets(now)} == {now, before, first}
    assert count.former_buckets(3) == []


def test_a_record_goes_to_the_bucket_of_its_person_in_a_region_that_has_grown() -> None:
    for number in range(50):
        user_id = f"u-{number}"
        assert remote_partition(user_id.encode(), bucket_of(user_id, 8), 16) == bucket_of(user_id, 16)
    assert remote_partition(None, 13, 8) == remote_partition(b"\xff", 13, 8) == 5
