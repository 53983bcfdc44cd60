"""Every query, update and delete of the work itself names its bucket, seen in what the driver sends: so a mongos asks one shard."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from notify_streams.admin.audit.database import read_database
from notify_streams.admin.audit.snapshot import RegionSnapshot
from notify_streams.delivery.claims import Claims, DeliveryEnd, new_token
from notify_streams.delivery.receipts import ReceiptWriter
from notify_streams.outbox.fence import raise_fence
from notify_streams.preferences.choices import ChoiceChange
from notify_streams.preferences.repository import PreferenceRepository
from notify_streams.records.ids import notification_id
from notify_streams.records.outcomes import DeliveryState
from notify_streams.stores.bucket_directory import MOVED
from notify_streams.stores.mongo import LEDGER, NOTIFICATIONS, OUTBOX, PREFERENCES
from notify_streams.web.ledger import read_ledger
from notify_streams.web.notifications import find_notifications
from tests.builders import ABatch, AckRecorder, ARecord, an_entry
from tests.integration.outbox.outbox_fixtures import EVEN, ODD, SOURCE, Bench, batch, flush_of
from tests.waiting import until

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)
#: One document of the shard itself, not rows: which buckets it handed on, and the epoch that its ledgers begin behind.
OF_THE_SHARD = (MOVED, "fence")
OF_THE_CONNECTION = ("hello", "isMaster", "endSessions", "ping", "commitTransaction", "abortTransaction", "getMore")


def conditions(name: Any, command: Any) -> Any:
    """What names the documents that a command is about."""
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
    raise AssertionError(f"a command that nobody expected: {name}")


def buckets_of(condition: Any) -> Any:
    named = condition["bucket"]
    return set(named["$in"]) if isinstance(named, dict) else {named}


def seen_in(bench: Any) -> Iterator[Any]:
    """(command, collection, buckets, shard) of each condition that went out since `clear`."""
    shard_of = {int(re.search(r":(\d+)", uri)[1]): shard for shard, uri in enumerate(bench.settings.shards)}
    for name, command, (_, port) in bench.commands.sent:
        if name in OF_THE_CONNECTION or command.get(name) in OF_THE_SHARD or command["$db"] == "admin":
            continue
        for condition in conditions(name, command):
            assert "bucket" in condition, (name, command[name], condition)
            yield name, command[name], buckets_of(condition), shard_of[port]


async def flush_twice(bench: Any) -> None:
    """A flush, a repeat and an id conflict, a refusal, the deletion of published rows."""
    acks, outbox = AckRecorder(), bench.outbox(sweep_every_s=0.05)
    await outbox.on_assigned([SOURCE, ("triggers.payments", ODD)])
    await outbox.start()
    for taken in (
        batch("a", bucket=EVEN, acks=acks),
        batch("a", bucket=ODD, acks=acks),
        batch("a", an_entry("b", bucket=EVEN), start=1, acks=acks),
        batch("c", start=9, acks=acks),
    ):
        await outbox.submit(taken)
    await until(lambda: acks.acknowledged == 3 and acks.refused)
    await until(lambda: not_waiting(bench))
    await outbox.stop()


async def not_waiting(bench: Any) -> Any:
    return await bench.relay.waiting([EVEN, ODD]) == (0, 0.0)


async def relay(bench: Any) -> None:
    await bench.ledger.open({SOURCE: 0})
    await bench.store().write(flush_of(batch("a")), [])
    assert await bench.relay.drain([EVEN]) == 1


async def claim_and_end(bench: Any) -> None:
    await relay(bench)
    claims, identity = Claims(bench.shards, "push", 5.0), notification_id("a", "u-42")
    token = new_token()
    await claims.claim(EVEN, [identity], new_token(), NOW)
    claimed = await claims.claim(EVEN, [identity], token, NOW)
    assert claimed.mine[identity].possible_duplicate
    assert await claims.verify_claims(EVEN, claimed.mine) == {identity}
    await claims.end(EVEN, [DeliveryEnd(identity, token, DeliveryState.SENT, 2)], NOW)
    receipt = b'{"delivery_id": "%s.push", "state": "delivered", "at": "2026-11-22T10:00:00Z"}' % identity.encode()
    await ReceiptWriter(bench.shards, 5.0).apply(ABatch([ARecord(receipt)], topic="receipts", partition=EVEN, end=1))


async def choose_and_ask(bench: Any) -> None:
    durable = PreferenceRepository(bench.shards)
    for version in range(2):
        await durable.apply(
            [
                (bucket, f"u-{bucket}", ChoiceChange(1, "push", bool(version), NOW.replace(hour=version)))
                for bucket in (EVEN, ODD)
            ]
        )
    await durable.read(EVEN, "u-2")
    await durable.rows(ODD, ["u-3"])
    await durable.changed_since(0, None, 60)


async def look_and_fence(bench: Any) -> None:
    await relay(bench)
    await raise_fence(bench.shards, 1)
    facts = RegionSnapshot("us")
    await read_database(bench.shards, facts)
    assert facts.notifications == 1
    await read_ledger(bench.shards, 5.0)
    await find_notifications(bench.shards, "a", 5.0)


@pytest.mark.parametrize(
    ("work", "commands", "collections"),
    [
        (flush_twice, {"find", "update", "insert", "delete"}, {LEDGER, NOTIFICATIONS, OUTBOX}),
        (relay, {"find", "update", "insert", "delete"}, {LEDGER, NOTIFICATIONS, OUTBOX}),
        (claim_and_end, {"find", "update"}, {NOTIFICATIONS}),
        (choose_and_ask, {"find", "update", "insert"}, {PREFERENCES}),
        (look_and_fence, {"find", "update"}, {LEDGER, NOTIFICATIONS, OUTBOX}),
    ],
    ids=["flushes", "relay", "claims and receipts", "preferences", "audit, views and the region's fence"],
)
async def test_every_command_names_buckets_of_the_shard_that_it_goes_to(
    bench: Bench, work: Any, commands: Any, collections: Any
) -> None:
    bench.commands.sent.clear()
    await work(bench)
    seen = list(seen_in(bench))
    for name, collection, buckets, shard in seen:
        # Of a mover's copies, and of the marks of readers, which are a shard's own, see `preferences.durable`.
        if collection != PREFERENCES:
            assert {bench.settings.shard_of(bucket) for bucket in buckets} == {shard}, (name, collection, buckets)
    assert {name for name, *_ in seen} >= commands
    assert {collection for _, collection, *_ in seen} >= collections
