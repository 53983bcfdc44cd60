"""Every command names its bucket, so that a mongos sends it to one shard."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import pytest

from notify_streams.admin.audit.database import read_database
from notify_streams.admin.audit.parts import Parts
from notify_streams.admin.audit.snapshot import RegionSnapshot
from notify_streams.admin.why import By, Question, ask
from notify_streams.delivery.provider_ids import PROVIDER_KEY
from notify_streams.delivery.receipts import ReceiptProgress
from notify_streams.outbox.fence import raise_fence
from notify_streams.preferences.choices import ChoiceChange
from notify_streams.preferences.repository import PreferenceRepository
from notify_streams.records.ids import notification_id
from notify_streams.records.person_slots import KEPT_FROM
from notify_streams.settings import Settings
from notify_streams.stores.bucket_directory import MOVED
from notify_streams.stores.mongo import (
    ATTEMPTS,
    CONSENTS,
    LEDGER,
    NOTIFICATIONS,
    OUTBOX,
    OUTCOMES,
    PREFERENCES,
    TIMERS,
    Shards,
)
from notify_streams.stores.partition_count import PARTITIONS
from notify_streams.web.ledger import read_ledger
from tests.builders import ABatch, AckRecorder, ARecord, an_outcome, categories
from tests.integration.delivery.delivery_fixtures import RETRY, EventTopics, Provider, receipt_writer, running_engine
from tests.integration.outbox.outbox_fixtures import EVEN, ODD, ROLE, SOURCE, Bench, batch, flush_of
from tests.waiting import until

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)
#: Collections about the shard itself, or the region: the bucket directory, the number of buckets, the fence, pauses of providers.
SHARD_COLLECTIONS = (MOVED, PARTITIONS, "fence", "pauses")
SESSION_COMMANDS = ("hello", "isMaster", "endSessions", "ping", "commitTransaction", "abortTransaction", "getMore")
#: About a collection, not about documents: a mongos asks one shard, and all have the same indexes.
COLLECTION_COMMANDS = ("listIndexes",)


def conditions(name: str, command: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What selects the documents of a command."""
    match name:
        case "find":
            return [command["filter"]]
        case "aggregate":
            return [command["pipeline"][0].get("$match", {})]
        case "update":
            return [one["q"] for one in command["updates"]]
        case "delete":
            return [one["q"] for one in command["deletes"]]
        case "insert":
            return list(command["documents"])
        case "findAndModify" | "count" | "distinct":
            return [command.get("query", {})]
    raise AssertionError(f"unexpected command: {name}")


def buckets_of(condition: Mapping[str, Any]) -> set[int]:
    named = condition["bucket"]
    return set(named["$in"]) if isinstance(named, dict) else {named}


def sent_commands(bench: Bench) -> Iterator[tuple[str, str, set[int], int]]:
    """(command, collection, buckets, shard) of each condition that was sent since `clear`."""
    shard_of = {urlsplit(uri).port: shard for shard, uri in enumerate(bench.settings.shards)}
    for name, command, (_, port) in bench.commands.sent:
        if (
            name in SESSION_COMMANDS + COLLECTION_COMMANDS
            or command.get(name) in SHARD_COLLECTIONS
            or command["$db"] == "admin"
        ):
            continue
        for condition in conditions(name, command):
            assert "bucket" in condition, (name, command[name], condition)
            yield name, command[name], buckets_of(condition), shard_of[port]


async def flush_twice(bench: Bench) -> None:
    """A flush, a duplicate, an id id_conflict, a refusal, the deletion of published rows."""
    acks, outbox = AckRecorder(), bench.outbox(sweep_every_s=0.05)
    await outbox.acquire([SOURCE, ("triggers.payments", ODD)])
    await outbox.start()
    for decided in (
        batch("a", bucket=EVEN, acks=acks),
        batch("a", bucket=ODD, acks=acks),
        batch("a", an_outcome("b", bucket=EVEN), start=1, acks=acks),
        batch("c", start=9, acks=acks),
    ):
        await outbox.submit(decided)
    await until(lambda: acks.acknowledged == 3 and acks.refused)
    await until(partial(no_rows_left, bench))
    await outbox.stop()


async def no_rows_left(bench: Bench, role: str = ROLE) -> bool:
    return await bench.relay_of(role).waiting([EVEN, ODD]) == (0, 0.0)


async def relay(bench: Bench) -> None:
    await bench.ledger.open({SOURCE: 0})
    await bench.store().write(flush_of(batch("a")), [])
    assert await bench.relay.drain([EVEN]) == 1


async def deliver_twice_and_retry(bench: Bench) -> None:
    """Every command of the delivery engine: taken over, called, retried, a duplicate looked up; then a receipt."""
    await relay(bench)
    entry = an_outcome("a", bucket=EVEN)
    value = entry.outputs[0][3]
    topics = EventTopics()
    async with running_engine(bench.shards, Provider(a=[RETRY]), topics=topics) as engine:
        await engine.own(EVEN)
        for offset in range(2):
            record = ARecord(value, offset=offset)
            await engine.deliver(ABatch([record], topic="push", partition=EVEN, start=offset, end=offset + 1))
        await until(lambda: topics.events)
        await until(partial(no_rows_left, bench, "push"))
    notification = notification_id("a", "u-42", "payments")
    receipt = b'{"delivery_id": "%s.push", "state": "delivered", "at": "2026-11-22T10:00:00Z"}' % notification.encode()
    await receipt_writer(bench.shards).apply(
        ABatch([ARecord(receipt)], topic="receipts", partition=EVEN, end=1), ReceiptProgress()
    )


async def choose_and_read(bench: Bench) -> None:
    repository = PreferenceRepository(bench.shards)
    for version in range(2):
        await repository.apply(
            [
                (bucket, f"u-{bucket}", ChoiceChange(1, "push", bool(version), NOW.replace(hour=version)))
                for bucket in (EVEN, ODD)
            ]
        )
    await repository.read(EVEN, "u-2")
    await repository.rows(ODD, ["u-3"])
    await repository.earlier_rows_of({f"u-{EVEN}": EVEN, f"u-{ODD}": ODD})
    await repository.changed_since(0, None, 60)


@asynccontextmanager
async def opened(bench: Bench, settings: Settings) -> AsyncIterator[Shards]:
    yield bench.shards


async def read_and_fence(bench: Bench) -> None:
    await relay(bench)
    await raise_fence(bench.shards, 1)
    snapshot = RegionSnapshot("us")
    with TemporaryDirectory() as folder:
        await read_database(bench.shards, snapshot, Parts(Path(folder), 1))
    assert snapshot.notifications == 1
    await read_ledger(bench.shards, 5.0)
    async with Shards(bench.settings) as shards:
        for shard in range(len(shards)):
            await shards.database(shard)[NOTIFICATIONS].create_index(KEPT_FROM)
            await shards.database(shard)[ATTEMPTS].create_index(PROVIDER_KEY, sparse=True)
    for by, asked in ((By.TRIGGER, "a"), (By.TRIGGER, "other"), (By.PERSON, "u-42"), (By.PROVIDER_MESSAGE, "m-1")):
        story = await ask(
            Question(by, asked), ["us"], lambda region: bench.settings, categories(), None, partial(opened, bench)
        )
        assert story.is_complete, story.regions
        assert bool(story.notifications) is (asked == "a")


@pytest.mark.parametrize(
    ("work", "commands", "collections"),
    [
        (flush_twice, {"find", "update", "insert", "delete"}, {LEDGER, NOTIFICATIONS, OUTBOX}),
        (relay, {"find", "update", "insert", "delete"}, {LEDGER, NOTIFICATIONS, OUTBOX}),
        (deliver_twice_and_retry, {"find", "update", "insert", "delete"}, {NOTIFICATIONS, ATTEMPTS, TIMERS, LEDGER}),
        (choose_and_read, {"find", "update", "insert"}, {PREFERENCES, CONSENTS}),
        (read_and_fence, {"find", "update"}, {LEDGER, NOTIFICATIONS, OUTBOX, OUTCOMES, ATTEMPTS, TIMERS}),
    ],
    ids=["flushes", "relay", "delivery and receipts", "preferences", "audit, views and the region's fence"],
)
async def test_every_command_names_buckets_of_the_shard_that_it_goes_to(
    bench: Bench, work: Callable[[Bench], Awaitable[None]], commands: set[str], collections: set[str]
) -> None:
    bench.commands.sent.clear()
    await work(bench)
    seen = list(sent_commands(bench))
    for name, collection, buckets, shard in seen:
        # Marks of preference readers belong to a shard, not to a bucket (see `preferences.repository`).
        if collection != PREFERENCES:
            assert {bench.settings.shard_of(bucket) for bucket in buckets} == {shard}, (name, collection, buckets)
    assert {name for name, *_ in seen} >= commands
    assert {collection for _, collection, *_ in seen} >= collections
