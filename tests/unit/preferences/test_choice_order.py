"""A choice by hand is on the topic before it is stored: whatever happens in between, the tables get its row."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from notify_streams.errors import RetryLater, StoreUnavailable
from notify_streams.preferences.choices import EMPTY_RECORD, PreferenceRecord, merge
from notify_streams.preferences.publisher import publisher_for
from notify_streams.preferences.repository import PreferenceRepository
from notify_streams.preferences.row_codec import OUT, cached_decode_row, choice_of
from notify_streams.preferences.writer import PreferenceWriter
from notify_streams.records.choice_sources import ChoiceSource
from notify_streams.records.partitioner import bucket_of
from notify_streams.records.user_records import PreferenceUpdate
from tests.agents.agent_fakes import FakeProducer
from tests.builders import some_settings
from tests.unit.preferences.preference_builders import the_categories

BUCKET = 3
ADDRESS = "address:" + "a" * 32


class InMemory(PreferenceRepository):
    """One shard that merges without a database and keeps the history by version."""

    def __init__(self) -> None:
        self._shards: Any = SimpleNamespace(of=lambda bucket: 0)
        self._timeout_s = 5.0
        self.records: dict[str, PreferenceRecord] = {}
        self.history: dict[int, Any] = {}

    async def read_earlier(self, bucket: int, user_id: str) -> PreferenceRecord:
        return self.records.get(user_id, EMPTY_RECORD)

    async def _swap_on(self, shard: int, users: Any) -> Any:
        before = {user_id: self.records.get(user_id, EMPTY_RECORD) for user_id in users}
        after = {user_id: merge(before[user_id], changes, datetime.now(UTC)) for user_id, (_, changes) in users.items()}
        self.records |= after
        for record in after.values():
            self.history |= {choice.version: (number, channel, choice) for number, channel, choice in record.numbered()}
        return {}, after

    async def _add_to_history(self, shard: int, users: Any, *results: Any) -> None:
        return

    async def write(self, rows: Any) -> None:
        """In place of Redis."""


class Topic:
    """Keeps what is published. `reads`: a reader applies them before the publication returns.

    The publication with the number `fails_at` raises.
    """

    def __init__(self, stored: InMemory, reads: bool = False, late_ms: int = 0, fails_at: int = 0) -> None:
        self.updates: list[tuple[int, PreferenceUpdate]] = []
        self.rows: dict[str, bytes] = {}
        self.calls = 0
        self._reads, self._late, self._fails_at = reads, timedelta(milliseconds=late_ms), fails_at
        self._stored = stored

    async def publish(self, updates: Sequence[tuple[int, PreferenceUpdate]], rows: Any) -> None:
        self.calls += 1
        if self.calls == self._fails_at:
            raise OSError("no broker")
        self.updates += updates
        self.rows |= rows
        if self._reads:
            await self.read(updates)

    async def read(self, updates: Sequence[tuple[int, PreferenceUpdate]]) -> None:
        """As the registry role does. Kafka's clock is behind by `late_ms`, so that times are cut (`read_preference_update`)."""
        arrived = [
            (bucket, msgspec.structs.replace(update, updated_at=update.updated_at - self._late))
            for bucket, update in updates
        ]
        self.rows |= (await writer_of(self._stored, self).apply_updates(arrived)).rows

    def says_out(self, user_id: str = "u-1") -> bool:
        return choice_of(cached_decode_row(self.rows[user_id])[1].get(2, 0), "push") == OUT


def writer_of(stored: InMemory, topic: Topic, publish: Any = None) -> PreferenceWriter:
    """A writer of a process of its own."""
    parts: Any = stored
    bound: Any = None
    return PreferenceWriter(stored, parts, bound, the_categories(), publish or topic.publish, parts)


async def put(writer: PreferenceWriter, opted_in: bool = False, at: datetime | None = None, **but: Any) -> int:
    at = at or datetime.now(UTC)
    return (await writer.put("u-1", BUCKET, "marketing", "push", opted_in, at, ChoiceSource.API, **but)).version


def entries(stored: InMemory) -> list[bool]:
    """The history."""
    assert sorted(stored.history) == list(range(1, len(stored.history) + 1))
    return [stored.history[version][2].opted_in for version in sorted(stored.history)]


async def test_after_a_crash_behind_the_durable_record_the_tables_get_the_row() -> None:
    stored = InMemory()
    topic = Topic(stored, fails_at=2)
    with pytest.raises(RetryLater):
        await put(writer_of(stored, topic))
    assert stored.records["u-1"].version == 1 and not topic.rows
    await topic.read(topic.updates)
    assert topic.says_out() and entries(stored) == [False]


async def test_after_a_crash_before_the_record_the_choice_is_stored_from_the_topic(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stored = InMemory()
    topic = Topic(stored)

    async def no_database(*_: Any) -> Any:
        raise StoreUnavailable("no shard")

    with monkeypatch.context() as crash, pytest.raises(RetryLater):
        crash.setattr(stored, "_swap_on", no_database)
        await put(writer_of(stored, topic))
    assert not stored.records
    await topic.read(topic.updates)
    assert topic.says_out() and entries(stored) == [False]


async def test_what_kafka_does_not_take_is_not_stored() -> None:
    stored = InMemory()
    topic = Topic(stored, fails_at=1)
    with pytest.raises(RetryLater, match="not stored"):
        await put(writer_of(stored, topic))
    assert not stored.records and not topic.updates and topic.calls == 1


@pytest.mark.parametrize("late_ms", [0, 7])
@pytest.mark.parametrize("read_first", [False, True])
async def test_one_choice_is_one_version_and_one_update_in_either_order(read_first: bool, late_ms: int) -> None:
    stored = InMemory()
    topic = Topic(stored, read_first, late_ms)
    writer = writer_of(stored, topic)
    chosen = [False, False, True, False]
    for number, opted_in in enumerate(chosen, 1):
        at = datetime.now(UTC) + timedelta(seconds=number)
        assert await put(writer, opted_in, at) == number
        if not read_first:
            await topic.read(topic.updates[-1:])
        assert entries(stored) == chosen[:number]
        assert topic.says_out() is not opted_in
    # A time that Kafka cut is published once more.
    assert len(topic.updates) == len(chosen) * (2 if read_first and late_ms else 1)


@pytest.mark.parametrize("read_first", [False, True])
async def test_a_stored_choice_of_a_clock_that_is_ahead_does_not_win(read_first: bool) -> None:
    stored = InMemory()
    topic = Topic(stored, read_first)
    writer = writer_of(stored, topic)
    now = datetime.now(UTC)
    await put(writer, True, now + timedelta(minutes=2))
    assert await put(writer, False, now) == 2
    await topic.read(topic.updates)
    assert entries(stored) == [True, False] and topic.says_out()
    assert len(topic.updates) == 2, "it was published with the time that was stored"


@pytest.mark.parametrize("read_first", [False, True])
async def test_choices_that_are_written_together_have_one_entry_each(read_first: bool) -> None:
    stored = InMemory()
    topic = Topic(stored, read_first)
    writer = writer_of(stored, topic)
    now = datetime.now(UTC)
    together = [True, False, True, False]
    assert await asyncio.gather(*(put(writer, opted_in, now) for opted_in in together)) == [4] * 4
    await topic.read(topic.updates)
    assert entries(stored) == together and topic.says_out()
    assert len(topic.updates) == len(together)


async def test_a_choice_that_another_process_stores_in_between_is_not_taken_for_this_one() -> None:
    stored = InMemory()
    topic = Topic(stored)
    await put(writer_of(stored, topic), False)
    other = writer_of(stored, Topic(stored))

    class Overtaken(Topic):
        async def publish(self, updates: Any, rows: Any) -> None:
            await super().publish(updates, rows)
            if not rows:
                await put(other, True, datetime.now(UTC) + timedelta(seconds=1))

    late = Overtaken(stored)
    assert await put(writer_of(stored, late), False) == 3
    assert entries(stored) == [False, True, False] and late.says_out()
    await topic.read(late.updates)
    assert entries(stored) == [False, True, False]
    assert late.updates[-1][1].updated_at == stored.records["u-1"].choices[2]["push"].at


async def test_each_update_is_published_before_its_row_and_an_address_has_none() -> None:
    producer, settings = FakeProducer(), some_settings()
    stored = InMemory()
    writer = writer_of(stored, Topic(stored), publisher_for(producer, settings))
    await writer.put("u-1", bucket_of("u-1", settings.partitions), "*", "*", False, datetime.now(UTC), ChoiceSource.CLI)
    assert producer.topics == ["preference_updates"] * 6 + ["preference_rows"]
    assert {partition for _, partition, _ in producer.published} == {bucket_of("u-1", settings.partitions)}
    producer.published.clear()
    await writer.put(ADDRESS, BUCKET, "stopped", "sms", False, datetime.now(UTC), ChoiceSource.SMS_KEYWORD)
    assert producer.topics == ["preference_updates"]
    assert producer.published[0][1] == BUCKET
