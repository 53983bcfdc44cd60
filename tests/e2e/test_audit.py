"""The audit over real processes: holds normally, and finds each kind of difference."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete

from notify_streams import kafka
from notify_streams.admin.audit import audit
from notify_streams.delivery.attempts import delivery_key, key_range
from notify_streams.records.ids import delivery_id, ledger_id, notification_id
from notify_streams.stores.mongo import ATTEMPTS, LEDGER, NOTIFICATIONS, SEALED_SUMS, Shards
from notify_streams.stores.sealed_sums import counts_of, opening_of
from tests.builders import a_message
from tests.e2e.processes import Done, until
from tests.e2e.running_region import RunningRegion

pytestmark = [pytest.mark.stack, pytest.mark.timeout(1200), pytest.mark.asyncio(loop_scope="session")]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def sent_to_ada(running_region: RunningRegion) -> AsyncIterator[str]:
    """A trigger that was sent by push and email, in an idle region."""
    trigger_id = await running_region.trigger("ada")
    await running_region.audited()
    await all_sealed(running_region)
    yield trigger_id
    await running_region.audited()


async def test_an_audit_that_holds_is_one_json_object_and_exit_status_0(
    running_region: RunningRegion, sent_to_ada: str
) -> None:
    done = await running_region.cli("audit", "--json")
    assert (done.status, done.json["holds"], done.json["differences"]) == (0, True, [])
    sums = done.json["regions"]["us"]
    outcomes = ("notified", "forwarded", "repartitioned", "dead", "duplicate", "waiting")
    assert sums["taken"] == sum(sums[name] for name in outcomes) > 0
    assert sums["accepted"] == sum(len(lines) for lines in running_region.provider_log().values())


async def test_the_text_output_ends_with_the_result(running_region: RunningRegion, sent_to_ada: str) -> None:
    done = await running_region.cli("audit")
    assert done.status == 0
    assert done.out.splitlines()[-1] == "the audit holds: 0 differences"


async def test_a_notification_removed_by_hand_is_a_difference(running_region: RunningRegion, sent_to_ada: str) -> None:
    bucket = running_region.bucket("ada")
    notification = notification_id(sent_to_ada, "ada", "payments")
    async with running_region.database(bucket) as database:
        removed = await database.notifications.find_one_and_delete({"bucket": bucket, "_id": notification})
        assert removed is not None
        try:
            found = await differences(running_region)
        finally:
            await database.notifications.insert_one(removed)
    assert {"ledger against notifications", "messages without a delivery", "accepted but not sent"} <= found.keys()
    assert found["messages without a delivery"]["example"] in {
        delivery_id(notification, "push"),
        delivery_id(notification, "email"),
    }


async def test_a_bucket_of_which_nothing_is_left_is_a_difference(
    running_region: RunningRegion, sent_to_ada: str
) -> None:
    bucket = running_region.bucket("ada")
    removed: dict[str, list[dict[str, Any]]] = {}
    async with running_region.database(bucket) as database:
        try:
            for name in (NOTIFICATIONS, ATTEMPTS, LEDGER, SEALED_SUMS):
                removed[name] = await database[name].find({"bucket": bucket}).to_list()
                await database[name].delete_many({"bucket": bucket})
            done = await running_region.cli("audit", "--json")
        finally:
            for name, documents in removed.items():
                await database[name].insert_many(documents)
    found = {one["where"] for one in done.json["differences"] if one["check"] == "committed without a ledger"}
    assert done.status == 1 and {f"push:push:{bucket}", ledger_id("standard", "triggers.payments", bucket)} <= found


@pytest.mark.parametrize("count", ["notified", "taken", "next_offset", "other_lane", "dead"])
async def test_a_changed_count_in_the_ledger_is_a_difference(
    running_region: RunningRegion, sent_to_ada: str, count: str
) -> None:
    bucket = running_region.bucket("ada")
    ledger = {"bucket": bucket, "_id": ledger_id("standard", "triggers.payments", bucket)}
    async with running_region.database(bucket) as database:
        await database.ledger.update_one(ledger, {"$inc": {count: 1}})
        try:
            found = await differences(running_region)
        finally:
            await database.ledger.update_one(ledger, {"$inc": {count: -1}})
    assert found["ledger sums"]["example"] == ledger["_id"]


@pytest.mark.parametrize("change", ["removed", "closing", "opening"])
async def test_a_change_of_sealed_sums_is_a_difference(
    running_region: RunningRegion, sent_to_ada: str, change: str
) -> None:
    bucket = running_region.bucket("ada")
    ledger = ledger_id("standard", "triggers.payments", bucket)
    async with running_region.database(bucket) as database:
        sums: Any = {"bucket": bucket, "_id": {"$regex": f"^{ledger}/"}}
        one = await database.sealed_sums.find_one(sums, sort=[("_id", -1)])
        assert one is not None
        await database.sealed_sums.delete_one({"bucket": bucket, "_id": one["_id"]})
        try:
            if change != "removed":
                counts = one[change] | {"next_offset": one[change]["next_offset"] + 1}
                await database.sealed_sums.insert_one(one | {change: counts})
            found = await differences(running_region)
        finally:
            await database.sealed_sums.replace_one({"bucket": bucket, "_id": one["_id"]}, one, upsert=True)
    assert found["sealed sums"]["where"].startswith(one["_id"] if change != "removed" else ledger)


async def test_the_sealed_sums_are_listed_and_their_sums_are_those_of_the_ledger(
    running_region: RunningRegion, sent_to_ada: str
) -> None:
    listed, audited = Done(0, "", ""), Done(0, "", "")

    async def all_are_sealed() -> bool:
        nonlocal listed, audited
        listed, audited = [await running_region.cli(*one, "--json") for one in (("ledger", "--sealed"), ("audit",))]
        counted = [row["sums"].get("taken", 0) for row in listed.json["periods"] if row["stage"] == "routing"]
        return bool(sum(counted) == audited.json["regions"]["us"]["taken"])

    await until(all_are_sealed)
    assert (listed.status, listed.json["closes"]) == (0, True)
    found = audited.json["regions"]["us"]["sealed"]
    assert found["holds"] and found["count"] > 0 and found["first"] <= found["last"]
    text = await running_region.cli("ledger", "--sealed")
    assert text.out.splitlines()[-1] == "the counts add up" and " standard: " in text.out
    assert (await running_region.cli("ledger", "--json")).json["closes"]


async def test_a_line_missing_in_the_provider_log_is_a_difference(
    running_region: RunningRegion, sent_to_ada: str
) -> None:
    with changed_provider_log(running_region) as file:
        lines = file.read_bytes().splitlines(keepends=True)
        wanted = delivery_id(notification_id(sent_to_ada, "ada", "payments"), "push").encode()
        file.write_bytes(b"".join(line for line in lines if wanted not in line))
        found = await differences(running_region)
    assert found["sent but never accepted"]["example"] == wanted.decode()


async def test_a_message_that_was_accepted_twice_is_a_difference_unless_it_is_marked(
    running_region: RunningRegion, sent_to_ada: str
) -> None:
    wanted = delivery_id(notification_id(sent_to_ada, "ada", "payments"), "push")
    with changed_provider_log(running_region) as file:
        lines = file.read_bytes().splitlines(keepends=True)
        others = [line for line in lines if wanted.encode() not in line]
        accepted = next(line for line in lines if wanted.encode() in line)
        # Messages that follow the restart of a worker may be marked already.
        plain, marked = (
            accepted.replace(b'"possible_duplicate":%b' % one, b'"possible_duplicate":%b' % other)
            for one, other in ((b"true", b"false"), (b"false", b"true"))
        )
        assert plain != marked
        file.write_bytes(b"".join((*others, plain, plain)))
        found = await differences(running_region)
        file.write_bytes(b"".join((*others, plain, marked)))
        assert (await running_region.cli("audit")).status == 0
    assert found["accepted twice without a mark"]["example"] == wanted


async def test_a_channel_message_without_a_notification_is_a_difference_and_is_not_sent(
    running_region: RunningRegion, sent_to_ada: str
) -> None:
    topic, user_id = "cric_sms", "ada"
    place = TopicPartition(topic, running_region.bucket(user_id))
    assert await extent(running_region, place) == (0, 0), "the test empties this partition afterwards"
    contact: dict[str, Any] = {"user_id": user_id, "channel": "sms", "to": "+15550000001", "critical": True}
    # A notification of 200 days ago is deleted, but nothing publishes its message now.
    ages = {"by-hand": timedelta(0), "by-hand-backdated": timedelta(days=200)}
    for trigger_id, age in ages.items():
        message = a_message(trigger_id=trigger_id, decided_at=datetime.now(UTC) - age, **contact)
        headers = [("id", message.delivery_id.encode()), ("critical", b"1")]
        await running_region.send(topic, msgspec.json.encode(message), key=user_id, headers=headers)
    try:
        found = await differences(running_region)
        await running_region.drained()
        assert not any(map(running_region.channels, ages))
    finally:
        admin = running_region.kafka_admin()
        await admin.start()
        await admin.delete_records({place: RecordsToDelete(before_offset=-1)})
        await admin.close()
    assert found["messages without a delivery"]["found"] == len(ages)


async def test_a_delivery_under_way_is_listed_and_fails_an_audit_that_waits(running_region: RunningRegion) -> None:
    async def lists_one_under_way() -> bool:
        await running_region.trigger("ada")
        found = await running_region.cli("audit", "--json")
        return "deliveries under way" in {one["check"] for one in found.json["in_flight"]}

    assert (await running_region.cli("providers", "pause", "fcm")).status == 0
    try:
        await until(lists_one_under_way, within_s=60)
        done = await running_region.cli("audit", "--json")
        waiting = await running_region.cli("audit", "--json", "--wait", "0")
    finally:
        assert (await running_region.cli("providers", "resume", "fcm")).status == 0
    await running_region.drained()
    assert (done.status, done.json["holds"], done.json["differences"]) == (0, True, [])
    assert "deliveries under way" in {one["check"] for one in done.json["in_flight"]}
    assert (waiting.status, waiting.json["holds"], waiting.json["differences"]) == (1, False, [])


async def test_a_delivery_whose_attempts_are_gone_is_a_difference(
    running_region: RunningRegion, sent_to_ada: str
) -> None:
    bucket = running_region.bucket("ada")
    async with Shards(running_region.settings) as shards:
        notification = await shards.collection(NOTIFICATIONS, bucket).find_one(
            {"bucket": bucket, "_id": notification_id(sent_to_ada, "ada", "payments")}
        )
        assert notification is not None
        key = delivery_key(delivery_id(notification["_id"], "push"), notification["decided_at"].timestamp())
        attempts = shards.collection(ATTEMPTS, bucket)
        mine = {"bucket": bucket, "_id": key_range(key)}
        stored = await attempts.find(mine).to_list()
        await attempts.delete_many(mine)
        try:
            found = await differences(running_region)
        finally:
            await attempts.insert_many(stored)
    assert found["taken without an attempt"]["found"] == 1
    assert found["taken without an attempt"]["example"] == delivery_id(notification["_id"], "push")


async def test_an_audit_of_a_region_under_load_finds_no_difference(running_region: RunningRegion) -> None:
    """What is decided while it reads lies behind its fence."""
    stop = asyncio.Event()

    async def load() -> None:
        while not stop.is_set():
            await asyncio.gather(*(running_region.trigger("ada") for _ in range(20)))
            await asyncio.sleep(0.1)  # at most 200 a second: the audits read everything

    loading = asyncio.create_task(load())
    try:
        for _ in range(3):
            report = await audit([running_region.settings])
            assert report["holds"], report["differences"]
    finally:
        stop.set()
        await loading
    await running_region.audited()


async def all_sealed(region: RunningRegion) -> None:
    """Wait until what an idle region has counted is sealed: what a test changes in the meantime would be sealed with it."""

    async def is_sealed() -> bool:
        async with Shards(region.settings) as shards:
            for shard in range(len(shards)):
                database = shards.database(shard)
                closings = {
                    (one["_id"].split("/")[0], one["period_end"]): one["closing"]
                    async for one in database[SEALED_SUMS].find()
                }
                async for ledger in database[LEDGER].find():
                    last = closings.get((ledger["_id"], ledger.get("sealed_to"))) or opening_of(ledger)
                    if last != counts_of(ledger):
                        return False
        return True

    await until(is_sealed)


async def differences(region: RunningRegion) -> dict[str, Any]:
    """The differences by check; the command must have failed."""
    done = await region.cli("audit", "--json")
    assert (done.status, done.json["holds"]) == (1, False)
    return {one["check"]: one for one in done.json["differences"]}


@contextmanager
def changed_provider_log(region: RunningRegion) -> Iterator[Path]:
    """The provider log, restored afterwards in place: the sandbox has the file open."""
    file = Path(str(region.settings.sandbox_record))
    before = file.read_bytes()
    try:
        yield file
    finally:
        file.write_bytes(before)


async def extent(region: RunningRegion, place: TopicPartition) -> tuple[int, int]:
    async with kafka.consumer(region.settings.kafka_connection()) as consumer:
        return (await consumer.beginning_offsets([place]))[place], (await consumer.end_offsets([place]))[place]
