"""The events of a flush are one document; what waits in memory is bounded, and what cannot be published stays in the database."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import msgspec

from notify_streams import metrics
from notify_streams.delivery.attempts import Attempt, Rank
from notify_streams.delivery.event_outbox import EventOutbox
from notify_streams.records.batch import OutboxRecord
from notify_streams.records.notification_event import read_event
from tests.builders import a_message, some_settings
from tests.waiting import until

SENT = Attempt(Rank.SENT, 1_795_000_000_000, None, "fcm", "p-1")


class FakeShards:
    """One shard that records which rows are deleted."""

    def __init__(self) -> None:
        self.deleted: list[str] = []
        #: Document → partitions of which it still has events.
        self.kept: dict[str, list[int]] = {}

    def of(self, bucket: int) -> int:
        return 0

    def database(self, shard: int) -> dict[str, Any]:
        return {"outbox": self}

    async def delete_many(self, query: Any) -> None:
        self.deleted += query["_id"]["$in"]

    def keeps(self, flush: str) -> bool:
        return any(f":{flush}:" in one for one in self.kept)

    async def update_one(self, query: Any, update: Any) -> None:
        self.kept[query["_id"]] = [part["partition"] for part in update["$set"]["parts"]]


class Topics:
    def __init__(self) -> None:
        self.sent: list[tuple[str, int, int]] = []
        self.gate = asyncio.Event()

    async def send_batch(self, topic: str, partition: int, records: Sequence[Any]) -> None:
        await self.gate.wait()
        self.sent.append((topic, partition, len(records)))


def an_outbox(shards: Any = None, topics: Any = None, **systems: bool) -> EventOutbox:
    settings = some_settings(notification_events=systems, outbox={"sweep_every_s": 60})
    used: Any = shards or FakeShards()
    return EventOutbox("push", settings, used, topics or Topics())


def events(outbox: EventOutbox, *places: tuple[str, int]) -> list[OutboxRecord]:
    """An event for each system and bucket."""
    found = [
        outbox.event_of(a_message(source_topic=f"triggers.{system}"), bucket, SENT, 2) for system, bucket in places
    ]
    return [one for one in found if one is not None]


def test_an_event_says_what_became_of_the_delivery() -> None:
    ((topic, bucket, key, value, _),) = events(an_outbox(), ("payments", 5))
    event = read_event(value)
    assert (topic, bucket, key) == ("notification_events.payments", 5, b"u-42")
    assert (event.state, event.attempt, event.trigger_id, event.channel) == ("sent", 2, "t-1", "push")
    assert event.event_id == f"{event.notification_id}.push:2:sent"
    assert b"token-u-42" not in value


def test_the_event_of_a_forwarded_trigger_is_for_the_system_that_its_message_names() -> None:
    outbox = an_outbox()
    for system, topics in (("marketing", ["notification_events.marketing"]), ("", [])):
        event = outbox.event_of(a_message(source_topic="triggers.forwarded", system=system), 5, SENT, 1)
        assert [one[0] for one in (event,) if one is not None] == topics


def test_a_system_without_events_or_an_unknown_one_has_none() -> None:
    assert events(an_outbox(payments=False), ("payments", 5), ("unknown", 5)) == []


def test_the_events_of_a_flush_are_one_document_with_a_part_for_each_topic_and_partition() -> None:
    outbox = an_outbox()
    rows = outbox.rows_of("f", events(outbox, ("payments", 5), ("marketing", 5), ("payments", 5), ("payments", 6)))
    (document,) = {id(row.document): row.document for row in rows}.values()
    assert (document["bucket"], document["count"]) == (5, 4)
    assert [(one["topic"].partition(".")[2], one["partition"]) for one in document["parts"]] == [
        ("payments", 5),
        ("marketing", 5),
        ("payments", 6),
    ]
    assert [len(msgspec.msgpack.decode(one["records"])) for one in document["parts"]] == [2, 1, 1]


async def test_rows_beyond_the_bound_stay_in_the_database() -> None:
    shards, topics = FakeShards(), Topics()
    outbox = an_outbox(shards, topics)
    many = events(outbox, ("payments", 5)) * 5_000
    running = asyncio.create_task(outbox.run())
    for flush in ("a", "b", "c"):
        outbox.committed(outbox.rows_of(flush, many))
    topics.gate.set()
    await until(lambda: len(shards.deleted) == 2)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    assert sum(count for *_, count in topics.sent) == 10_000
    assert not any(":c:" in one for one in shards.deleted)


async def test_large_rows_beyond_the_bound_stay_in_the_database() -> None:
    """A trigger for the next channel may have a megabyte."""
    shards, topics = FakeShards(), Topics()
    outbox = an_outbox(shards, topics)
    running = asyncio.create_task(outbox.run())
    trigger: OutboxRecord = ("triggers.payments", 5, b"u-42", b"x" * 1_100_000, ())
    for flush in ("a", "b", "c"):
        outbox.committed(outbox.rows_of(flush, [trigger] * 8))
    topics.gate.set()
    await until(lambda: len(shards.deleted) == 2)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    assert topics.sent == [("triggers.payments", 5, 8)] * 2


async def test_a_trigger_is_no_event_of_the_metric() -> None:
    shards, topics = FakeShards(), Topics()
    topics.gate.set()
    outbox = an_outbox(shards, topics)
    counted = {topic: _published(topic) for topic in ("triggers.payments", "notification_events.payments")}
    await outbox.start()
    trigger: OutboxRecord = ("triggers.payments", 5, b"u-42", b"{}", ())
    outbox.committed(outbox.rows_of("a", [trigger, *events(outbox, ("payments", 5))]))
    await until(lambda: shards.deleted)
    await outbox.stop()
    assert [_published(topic) - before for topic, before in counted.items()] == [0, 1]


def _published(topic: str) -> float:
    return metrics.REGISTRY.get_sample_value("notify_events_total", {"topic": topic}) or 0.0


async def test_an_error_that_ends_the_publication_is_kept_so_that_the_worker_is_restarted() -> None:
    class Broken(FakeShards):
        async def delete_many(self, query: Any) -> None:
            raise AssertionError("a defect")

    topics = Topics()
    topics.gate.set()
    outbox = an_outbox(Broken(), topics)
    await outbox.start()
    assert outbox.failed is None
    outbox.committed(outbox.rows_of("a", events(outbox, ("payments", 5))))
    await until(lambda: outbox.failed)
    await outbox.stop()


class OneThatHangs(Topics):
    """Partition 5 has a leader that does not answer."""

    hanging = 0

    async def send_batch(self, topic: str, partition: int, records: Sequence[Any]) -> None:
        if partition == 5:
            self.hanging += 1
            await asyncio.Event().wait()
        self.sent.append((topic, partition, len(records)))


async def test_a_partition_whose_leader_hangs_delays_no_other() -> None:
    """Neither those of the same publication, nor what is committed while it hangs."""
    shards, topics = FakeShards(), OneThatHangs()
    outbox = an_outbox(shards, topics)
    await outbox.start()
    outbox.committed(outbox.rows_of("a", events(outbox, ("payments", 5))))
    await until(lambda: topics.hanging)
    for flush, place in (("b", 4), ("c", 6), ("d", 4)):
        outbox.committed(outbox.rows_of(flush, events(outbox, ("payments", place), ("payments", 5))))
        await until(partial(shards.keeps, flush), within_s=5)
    assert [partition for _, partition, _ in topics.sent] == [4, 6, 4]
    assert list(shards.kept.values()) == [[5]] * 3
    assert topics.hanging == 1, "its own events wait in the database meanwhile"
    await outbox.stop()


async def test_a_sweep_that_hangs_delays_no_publication() -> None:
    class Left(FakeShards):
        """Of bucket 5, a row that a dead worker left."""

        async def distinct(self, name: str, query: Any) -> list[int]:
            return [5] if 5 in query["bucket"]["$in"] else []

        def collection(self, name: str, bucket: int) -> "Left":
            return self

        def find(self, query: Any) -> "Left":
            return self

        def sort(self, *_: object) -> "Left":
            return self

        limit = sort

        async def to_list(self) -> list[Any]:
            return [outbox.rows_of("0000000000000001", events(outbox, ("payments", 5)))[0].document]

    shards, topics = Left(), OneThatHangs()
    outbox = an_outbox(shards, topics)
    outbox.on_assigned([5])
    await outbox.start()
    await until(lambda: topics.hanging)
    outbox.committed(outbox.rows_of("b", events(outbox, ("payments", 4))))
    await until(lambda: shards.deleted, within_s=5)
    await outbox.stop()


async def test_a_partition_that_takes_no_events_delays_no_other_and_keeps_its_own() -> None:
    class OneWithoutALeader(Topics):
        refused = 0

        async def send_batch(self, topic: str, partition: int, records: Sequence[Any]) -> None:
            if partition == 5:
                self.refused += 1
                raise ConnectionError("no leader")
            await super().send_batch(topic, partition, records)

    shards, topics = FakeShards(), OneWithoutALeader()
    topics.gate.set()
    outbox = an_outbox(shards, topics)
    running = asyncio.create_task(outbox.run())
    first, second = (
        outbox.rows_of(flush, events(outbox, ("payments", 4), ("payments", 5), ("payments", 6))) for flush in "ab"
    )
    outbox.committed(first)
    outbox.committed(outbox.rows_of("c", events(outbox, ("payments", 4))))
    await until(lambda: shards.kept and shards.deleted)
    outbox.committed(second)
    await until(lambda: len(shards.kept) == 2)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    assert sorted(partition for _, partition, _ in topics.sent) == [4, 4, 4, 6, 6]
    assert topics.refused == 1
    assert list(shards.kept.values()) == [[5], [5]]
    assert all(":c:" in one for one in shards.deleted)
