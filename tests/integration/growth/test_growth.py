"""`topics grow`, killed at every step.

It ends with all documents, timers and rows in the buckets of their people, and the books closed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest

from devtools.stack.kafka import Kafka
from devtools.stack.ports import free_port
from notify_streams.admin.audit import audit
from notify_streams.admin.deliveries import ReplayOptions, Selection, find_deliveries, replay_deliveries
from notify_streams.admin.growth import grow
from notify_streams.admin.growth.log import GrowthLog
from notify_streams.admin.shards.move import WaitTimes
from notify_streams.admin.shards.move_lock import move_lock
from notify_streams.delivery.delivery_ledger import open_deliveries
from notify_streams.erasure.store import ErasureStore
from notify_streams.errors import Refused, StoreUnavailable
from notify_streams.failpoints import GROWTH_NAMES, FailpointReached, armed
from notify_streams.records.channel_message import read_channel_message
from notify_streams.records.partitioner import bucket_of
from notify_streams.secret import Secret
from notify_streams.settings import EdgePopSettings, Settings
from notify_streams.stores.mongo import (
    ATTEMPTS,
    CONSENTS,
    CONTACTS,
    LEDGER,
    NOTIFICATIONS,
    PREFERENCES,
    TIMERS,
    Shards,
    require_partition_count,
)
from notify_streams.stores.sealed_sums import seal_all
from tests.integration.growth.a_region import ERASED, KEY, ARegion, a_region, rows_of
from tests.local_services import or_skipped

pytestmark = pytest.mark.stack

BEFORE, AFTER, PEOPLE = 2, 4, 500
said: list[str] = []
NO_WAITS = WaitTimes(directory_s=0.0, operations_s=0.0)
#: Where a call is killed, one after the other; the last call ends.
KILLS = (
    "after_growth_mark",
    "after_growth_step",
    "after_growth_step",
    "inside_growth_documents",
    "inside_growth_documents@3",
    "after_growth_step",
    "inside_growth_timers",
    "after_growth_step",
    "after_growth_step",
    "inside_growth_rows",
    "after_growth_step",
    "inside_growth_end",
)


@pytest.fixture
def kafka_of_its_own(tmp_path: Path) -> Iterator[Kafka]:
    """A broker whose topics have few partitions."""
    service = Kafka("growing", tmp_path, free_port(), free_port())
    with or_skipped():
        service.start()
    yield service
    service.kill()


@pytest.fixture
def settings(kafka_of_its_own: Kafka, mongo_shards: list[str]) -> Settings:
    return Settings(
        region="us",
        regions=("us",),
        kafka=kafka_of_its_own.address,
        redis="none",
        shards=tuple(mongo_shards),
        database=f"t{uuid4().hex[:12]}",
        partitions=BEFORE,
        replication=1,
        trigger_systems=("payments",),
        notification_events={"payments": False},
        edge=(EdgePopSettings("pop", "http", "http://localhost:1", Secret("t" * 16)),),
    )


async def test_a_growth_that_is_killed_at_every_step_ends_with_closed_books(settings: Settings) -> None:
    async with a_region(settings, PEOPLE) as region:
        await _grow_and_check(region)


async def _grow_and_check(region: ARegion) -> None:
    old = region.settings
    new = msgspec.structs.replace(old, partitions=AFTER)
    await _assert_closed(old, sealed=0)
    await seal_all(region.shards, 5.0)
    before = {name: len(await region.all_of(name)) for name in (NOTIFICATIONS, ATTEMPTS, CONTACTS, CONSENTS, TIMERS)}
    assert {name.partition("@")[0] for name in KILLS} == set(GROWTH_NAMES)
    for kill in KILLS:
        name, _, at = kill.partition("@")
        with armed(f"{name}=raise" + (f"@{at}" if at else "")), pytest.raises(FailpointReached):
            await grow(old, AFTER, said.append, NO_WAITS)
        await _assert_closed_to_everybody(old, new)
    done = await grow(new, AFTER, said.append, NO_WAITS)
    assert (done.before, done.partitions) == (BEFORE, AFTER)
    await require_partition_count(new)
    with pytest.raises(Refused, match=f"the region has {AFTER} partitions, the settings say {BEFORE}"):
        await require_partition_count(old)
    again = await grow(new, AFTER, said.append, NO_WAITS)
    assert again.before == AFTER and not again.read, "nothing is left to do"

    assert before == {name: len(await region.all_of(name)) for name in before}
    await _assert_in_their_buckets(region)
    await _assert_rows_are_in_their_partitions(new)
    await _assert_timers_are_in_the_books(region)
    async with Shards(new) as shards:
        await shards.refresh_directory()
        await seal_all(shards, 5.0)
    # The channel role's ledgers go on, with the timers that moved.
    await _assert_closed(new, sealed=3 * BEFORE + AFTER)
    await _assert_old_deliveries_can_be_replayed(new)
    await _assert_the_erased_stay_erased(new)


async def test_what_cannot_grow_is_refused_and_nothing_is_changed(settings: Settings) -> None:
    async with a_region(settings, 20) as region:
        for wrong in (1, 3, 5):
            with pytest.raises(Refused, match="it can grow to a multiple, such as 4"):
                await grow(settings, wrong, said.append, NO_WAITS)
        await region.producer.send_batch("push", 0, [(b"u-1", b"{}", ())])
        with pytest.raises(Refused, match=r"channel messages wait \(push: 1\)"):
            await grow(settings, AFTER, said.append, NO_WAITS)
        counted = {"$inc": {"next_offset": 1, "taken": 1}}
        await region.shards.collection(LEDGER, 0).update_one({"_id": "push:push:0", "bucket": 0}, counted)
        with pytest.raises(Refused, match=r"the audit has \d differences"):
            await grow(settings, AFTER, said.append, NO_WAITS)
        await require_partition_count(settings)


async def test_of_two_calls_at_once_one_ends_the_growth_and_the_books_close(settings: Settings) -> None:
    """The other one stops, at the latest where it would note a step of a growth that it does not make any more."""
    async with a_region(settings, 20) as region:
        old, new = region.settings, msgspec.structs.replace(region.settings, partitions=AFTER)
        await seal_all(region.shards, 5.0)
        with armed("after_growth_step=raise"), pytest.raises(FailpointReached):
            await grow(old, AFTER, said.append, NO_WAITS)
        ended = await asyncio.gather(*(grow(old, AFTER, said.append, NO_WAITS) for _ in "ab"), return_exceptions=True)
        assert not any(isinstance(one, BaseException) and not isinstance(one, Refused) for one in ended), ended
        await grow(new, AFTER, said.append, NO_WAITS)
        await require_partition_count(new)
        await _assert_in_their_buckets(region)
        await _assert_timers_are_in_the_books(region)
        report = await audit([new])
        assert not report["differences"]


async def test_a_call_that_was_overtaken_leaves_no_part_of_a_growth(settings: Settings) -> None:
    async with Shards(settings) as shards:
        first, second = GrowthLog(shards, 5.0), GrowthLog(shards, 5.0)
        await first.begin(BEFORE, AFTER)
        with pytest.raises(Refused, match="another `notify-streams topics grow` has begun"):
            await second.begin(BEFORE, AFTER)
        await first.mark_done("topics")
        await second.go_on(AFTER)
        with pytest.raises(Refused):
            await first.mark_done("placement")
        with pytest.raises(Refused):
            await first.withdraw()
        await second.mark_done("placement")
        await second.finish(BEFORE, AFTER)
        for late in (
            first.mark_done("locations"),
            second.mark_done("locations"),
            first.move_position(1, CONTACTS, "u"),
        ):
            with pytest.raises(Refused):
                await late
        await require_partition_count(msgspec.structs.replace(settings, partitions=AFTER))
        for shard in range(len(shards)):
            await shards.client(shard).drop_database(settings.database)


async def test_no_growth_begins_while_a_bucket_is_moved(settings: Settings) -> None:
    async with a_region(settings, 20) as region:
        with armed("after_growth_mark=raise"), pytest.raises(FailpointReached):
            await grow(settings, AFTER, said.append, NO_WAITS)
        async with move_lock(region.shards.database(0), 10.0):
            with pytest.raises(Refused, match="a bucket is being moved"):
                await grow(settings, AFTER, said.append, NO_WAITS)
        await require_partition_count(settings)


async def _assert_closed(settings: Settings, *, sealed: int) -> None:
    report = await audit([settings])
    assert not report["differences"]
    assert report["regions"]["us"]["sealed"]["count"] == sealed
    assert {one["check"] for one in report["in_flight"]} == {"deliveries under way"}


async def _assert_closed_to_everybody(old: Settings, new: Settings) -> None:
    """Neither settings let a worker start, or a running one go on; and no other number can be chosen."""
    for settings in (old, new):
        with pytest.raises(Refused, match=f"`notify-streams topics grow --partitions {AFTER}` to its end"):
            await require_partition_count(settings)
        async with Shards(settings, follows=True) as shards:
            with pytest.raises(StoreUnavailable, match="is growing from"):
                shards.database(0)
    with pytest.raises(Refused, match=f"topics grow --partitions {AFTER}"):
        await grow(old, 2 * AFTER, said.append, NO_WAITS)


async def _assert_in_their_buckets(region: ARegion) -> None:
    attempts: dict[bytes, set[int]] = {}
    for attempt in await region.all_of(ATTEMPTS):
        attempts.setdefault(attempt["_id"][:16], set()).add(attempt["bucket"])
    for name, user in ((CONTACTS, "_id"), (PREFERENCES, "_id"), (CONSENTS, "user_id"), (NOTIFICATIONS, "user_id")):
        documents = await region.all_of(name)
        assert len(documents) == len(region.people)
        assert all(one["bucket"] == bucket_of(one[user], AFTER) for one in documents), name
    assert {one["bucket"] for one in await region.all_of(NOTIFICATIONS)} == set(range(AFTER))
    for timer in await region.all_of(TIMERS):
        if timer["role"] == "push":
            user_id = read_channel_message(timer["record"]).user_id
            assert attempts[timer["_id"]] == {timer["bucket"]} == {bucket_of(user_id, AFTER)}
        else:
            assert timer["bucket"] >= BEFORE, "the trigger that waits is published to its user's partition"


async def _assert_rows_are_in_their_partitions(settings: Settings) -> None:
    for topic in ("contact_rows", "preference_rows", "user_locations", "edge.pop"):
        rows = await rows_of(settings, topic)
        assert len(rows) == PEOPLE
        assert all(partition == bucket_of(user_id, AFTER) for user_id, (partition, _) in rows.items()), topic


async def _assert_timers_are_in_the_books(region: ARegion) -> None:
    ledgers = [one for one in await region.all_of(LEDGER) if one["role"] == "push"]
    assert {one["bucket"] for one in ledgers} == set(range(AFTER))
    timers = [one["bucket"] for one in await region.all_of(TIMERS) if one["role"] == "push"]
    for one in ledgers:
        assert open_deliveries(one) == timers.count(one["bucket"]) > 0


async def _assert_old_deliveries_can_be_replayed(settings: Settings) -> None:
    async with Shards(settings) as shards:
        await shards.refresh_directory()
        sent = [one async for one in find_deliveries(settings, shards, Selection(state="sent"))]
        assert len(sent) == PEOPLE * 4 // 5
        # Their messages are in partitions of other numbers.
        found = [one for one in sent if one.bucket >= BEFORE]
        done = await replay_deliveries(settings, shards, found, ReplayOptions(again=True), dry_run=True)
    assert len(done["replayed"]) == len(found) > 0


async def _assert_the_erased_stay_erased(settings: Settings) -> None:
    async with Shards(settings) as shards:
        await shards.refresh_directory()
        erasures = ErasureStore(shards, KEY, 5.0)
        for user_id in ERASED:
            bucket = bucket_of(user_id, AFTER)
            document = await erasures.read(user_id, bucket)
            assert document is not None
            later = datetime.now(UTC)
            await erasures.open(user_id, bucket, later)
            again = await erasures.read(user_id, bucket)
            assert again is not None and again["bucket"] == bucket
