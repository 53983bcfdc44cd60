"""The audit over real processes: silent while the books close, and red for every way in which they can fail to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from notify_streams.outbox.flush_plan import ledger_id
from notify_streams.records.ids import delivery_id, notification_id
from notify_streams.roles import ROLES
from tests.builders import a_message
from tests.e2e.running_region import RegionAtWork

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600), pytest.mark.asyncio(loop_scope="session")]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def sent_to_ada(region_at_work: RegionAtWork) -> AsyncIterator[str]:
    """A trigger that was sent by push and mail, in a region that is quiet."""
    identity = await region_at_work.trigger("ada")
    await region_at_work.closed()
    yield identity
    await region_at_work.closed()


async def test_closed_books_are_one_json_object_and_exit_status_0(
    region_at_work: RegionAtWork, sent_to_ada: str
) -> None:
    done = await region_at_work.cli("audit", "--json")
    assert (done.status, done.json["holds"], done.json["differences"]) == (0, True, [])
    sums = done.json["regions"]["us"]
    outcomes = ("notified", "forwarded", "repartitioned", "dead", "duplicate")
    assert sums["taken"] == sum(sums[name] for name in outcomes) > 0
    assert sums["accepted"] == sum(len(lines) for lines in region_at_work.record().values())


async def test_for_people_it_says_so_in_a_sentence(region_at_work: RegionAtWork, sent_to_ada: str) -> None:
    done = await region_at_work.cli("audit")
    assert done.status == 0
    assert done.out.splitlines()[-1] == "the books close: 0 differences"


async def test_a_notification_removed_by_hand_is_a_difference(region_at_work: RegionAtWork, sent_to_ada: str) -> None:
    bucket = region_at_work.bucket("ada")
    identity = notification_id(sent_to_ada, "ada")
    async with region_at_work.database(bucket) as database:
        removed = await database.notifications.find_one_and_delete({"bucket": bucket, "_id": identity})
        assert removed is not None
        try:
            found = await differences(region_at_work)
        finally:
            await database.notifications.insert_one(removed)
    assert {"ledger against notifications", "messages without a delivery", "accepted but not sent"} <= found.keys()
    assert found["messages without a delivery"]["example"] in {
        delivery_id(identity, "push"),
        delivery_id(identity, "email"),
    }


@pytest.mark.parametrize("count", ["notified", "taken", "next_offset", "other_lane", "dead"])
async def test_a_changed_count_in_the_ledger_is_a_difference(
    region_at_work: RegionAtWork, sent_to_ada: str, count: str
) -> None:
    bucket = region_at_work.bucket("ada")
    ledger = {"bucket": bucket, "_id": ledger_id("standard", "triggers.payments", bucket)}
    async with region_at_work.database(bucket) as database:
        await database.ledger.update_one(ledger, {"$inc": {count: 1}})
        try:
            found = await differences(region_at_work)
        finally:
            await database.ledger.update_one(ledger, {"$inc": {count: -1}})
    assert found["ledger sums"]["example"] == ledger["_id"]


async def test_a_line_missing_in_the_providers_record_is_a_difference(
    region_at_work: RegionAtWork, sent_to_ada: str
) -> None:
    with changed_record(region_at_work) as file:
        lines = file.read_bytes().splitlines(keepends=True)
        wanted = delivery_id(notification_id(sent_to_ada, "ada"), "push").encode()
        file.write_bytes(b"".join(line for line in lines if wanted not in line))
        found = await differences(region_at_work)
    assert found["sent but never accepted"]["example"] == wanted.decode()


async def test_a_message_that_was_accepted_twice_is_a_difference_unless_it_is_marked(
    region_at_work: RegionAtWork, sent_to_ada: str
) -> None:
    wanted = delivery_id(notification_id(sent_to_ada, "ada"), "push")
    with changed_record(region_at_work) as file:
        lines = file.read_bytes().splitlines(keepends=True)
        twice = next(line for line in lines if wanted.encode() in line)
        file.write_bytes(b"".join((*lines, twice)))
        found = await differences(region_at_work)
        marked = twice.replace(b'"possible_duplicate":false', b'"possible_duplicate":true')
        assert marked != twice
        file.write_bytes(b"".join((*lines, marked)))
        assert (await region_at_work.cli("audit")).status == 0
    assert found["accepted twice without a mark"]["example"] == wanted


async def test_a_channel_message_without_a_row_is_a_difference_and_nobody_is_sent_anything(
    region_at_work: RegionAtWork, sent_to_ada: str
) -> None:
    topic, user_id = "cric_sms", "ada"
    place = TopicPartition(topic, region_at_work.bucket(user_id))
    assert await extent(region_at_work, place) == (0, 0), "the test empties this partition afterwards"
    message = a_message(trigger_id="by-hand", user_id=user_id, channel="sms", to="+15550000001", critical=True)
    value = msgspec.json.encode(message)
    headers = [("id", message.delivery_id.encode()), ("critical", b"1")]
    await region_at_work.send(topic, value, key=user_id, headers=headers)
    try:
        found = await differences(region_at_work)
        await region_at_work.drained()
        assert region_at_work.channels("by-hand") == []
    finally:
        admin = AIOKafkaAdminClient(bootstrap_servers=region_at_work.settings.kafka)
        await admin.start()
        await admin.delete_records({place: RecordsToDelete(before_offset=-1)})
        await admin.close()
    assert found["messages without a delivery"]["example"] == message.delivery_id


async def test_what_is_under_way_is_told_from_a_difference_and_does_not_hold_either(
    region_at_work: RegionAtWork, sent_to_ada: str
) -> None:
    bucket = region_at_work.bucket("ada")
    notification = {"bucket": bucket, "_id": notification_id(sent_to_ada, "ada")}
    async with region_at_work.database(bucket) as database:
        await database.notifications.update_one(notification, {"$set": {"deliveries.push.state": "sending"}})
        try:
            done = await region_at_work.cli("audit", "--json")
        finally:
            await database.notifications.update_one(notification, {"$set": {"deliveries.push.state": "sent"}})
    assert (done.status, done.json["holds"], done.json["differences"]) == (1, False, [])
    assert "deliveries under way" in {one["check"] for one in done.json["in_flight"]}


async def test_a_service_that_does_not_answer_is_named_and_nothing_is_claimed(region_at_work: RegionAtWork) -> None:
    done = await region_at_work.cli("audit", "--json", NOTIFY_KAFKA="127.0.0.1:1")
    assert (done.status, done.out) == (1, "")
    assert "Kafka of region us does not answer" in done.err and "Traceback" not in done.err


async def test_the_region_has_a_worker_of_every_role(region_at_work: RegionAtWork) -> None:
    assert set(region_at_work.supervisor.processes) == set(ROLES)


async def differences(region: RegionAtWork) -> dict[str, Any]:
    """By check; the command must have failed."""
    done = await region.cli("audit", "--json")
    assert (done.status, done.json["holds"]) == (1, False)
    return {one["check"]: one for one in done.json["differences"]}


@contextmanager
def changed_record(region: RegionAtWork) -> Iterator[Path]:
    """The providers' record, put back afterwards. The file stays the same one: the sandbox has it open."""
    file = Path(str(region.settings.sandbox_record))
    before = file.read_bytes()
    try:
        yield file
    finally:
        file.write_bytes(before)


async def extent(region: RegionAtWork, place: TopicPartition) -> tuple[int, int]:
    async with AIOKafkaConsumer(bootstrap_servers=region.settings.kafka) as consumer:
        return (await consumer.beginning_offsets([place]))[place], (await consumer.end_offsets([place]))[place]
