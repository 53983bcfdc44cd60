"""The newest dead letters are kept: each reading begins where the last one ended."""

from dataclasses import dataclass, field

import pytest
from aiokafka import TopicPartition
from aiokafka.structs import ConsumerRecord

from notify_streams.topics import DEAD_LETTERS
from notify_streams.web.dead_letters import NewestDeadLetters, parse_limit

FIRST, SECOND = (TopicPartition(DEAD_LETTERS, number) for number in range(2))
Ranges = dict[TopicPartition, tuple[int, int]]


@dataclass
class AReader:
    """A reader of two partitions, whose records have their offset as time."""

    beginnings: dict[TopicPartition, int] = field(default_factory=lambda: {FIRST: 0, SECOND: 0})
    ends: dict[TopicPartition, int] = field(default_factory=lambda: {FIRST: 0, SECOND: 0})
    reads: list[Ranges] = field(default_factory=list)
    #: Records of a reading, of all partitions together.
    at_once: int = 1000

    async def extents(self, partitions: object) -> tuple[dict[TopicPartition, int], dict[TopicPartition, int]]:
        assert partitions == [FIRST, SECOND]
        return dict(self.beginnings), dict(self.ends)

    async def read(self, ranges: Ranges) -> tuple[list[ConsumerRecord[bytes, bytes]], bool]:
        self.reads.append(ranges)
        found = [
            ConsumerRecord(tp.topic, tp.partition, offset, offset, 0, None, b"x", None, 0, 1, ())
            for tp, (start, end) in ranges.items()
            for offset in range(start, end)
        ]
        return found[: self.at_once], len(found) <= self.at_once


async def places(newest: NewestDeadLetters) -> list[str]:
    found, complete = await newest.read()
    assert complete
    return [one["place"] for one in found]


async def test_what_was_read_is_not_read_again() -> None:
    reader = AReader()
    newest = NewestDeadLetters(reader, 2)
    assert await places(newest) == [] and not reader.reads
    reader.ends = {FIRST: 2, SECOND: 1}
    assert set(await places(newest)) == {"dead_letters-0@1", "dead_letters-0@0", "dead_letters-1@0"}
    reader.ends = {FIRST: 2, SECOND: 6}
    assert (await places(newest))[:2] == ["dead_letters-1@5", "dead_letters-1@4"]
    assert reader.reads == [{FIRST: (0, 2), SECOND: (0, 1)}, {SECOND: (1, 6)}]
    assert len(await places(newest)) == 8 and len(reader.reads) == 2


async def test_at_most_100_are_read_of_a_partition_and_kept() -> None:
    reader = AReader(beginnings={FIRST: 950, SECOND: 0}, ends={FIRST: 1000, SECOND: 400})
    newest = NewestDeadLetters(reader, 2)
    found = await places(newest)
    assert reader.reads == [{FIRST: (950, 1000), SECOND: (300, 400)}]
    assert len(found) == 100 and found[0] == "dead_letters-0@999"


async def test_a_topic_that_was_created_anew_is_read_from_its_beginning() -> None:
    reader = AReader(ends={FIRST: 9, SECOND: 0})
    newest = NewestDeadLetters(reader, 2)
    await newest.read()
    reader.ends = {FIRST: 1, SECOND: 0}
    assert await places(newest) == ["dead_letters-0@0"]


async def test_what_a_limit_left_out_is_read_next() -> None:
    reader = AReader(ends={FIRST: 3, SECOND: 2}, at_once=2)
    newest = NewestDeadLetters(reader, 2)
    assert [(len(found), complete) for found, complete in [await newest.read() for _ in range(4)]] == [
        (2, False),
        (4, False),
        (5, True),
        (5, True),
    ]
    assert reader.reads == [{FIRST: (0, 3), SECOND: (0, 2)}, {FIRST: (2, 3), SECOND: (0, 2)}, {SECOND: (1, 2)}]


@pytest.mark.parametrize("text", ["0", "101", "-1", "1.5", "", "1" * 5000, "000000001" + "9" * 5000])
def test_a_limit_out_of_range_is_refused(text: str) -> None:
    assert parse_limit(text) is None
