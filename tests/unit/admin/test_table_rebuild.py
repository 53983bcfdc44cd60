"""A rebuild of a table: what is published, while workers write, and what a table that follows the topic has afterwards."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Mapping, Sequence

from notify_streams.admin import table_rebuild
from notify_streams.admin.table_rebuild import TABLES, BucketRebuild, Rebuilt
from notify_streams.cli.tables import TABLES as NAMES
from notify_streams.preferences.row_codec import encode_row
from notify_streams.records.batch import KeyedRecord
from notify_streams.transport.tables.memory_store import MemoryStore
from tests.builders import ARecord

BUCKET = 3
PREFERENCES = TABLES["preferences"]


def a_row(version: int, category: int = 1) -> bytes:
    return encode_row(version, {category: {"push": True}})


def a_record(key: str | bytes | None, value: bytes | None) -> ARecord:
    return ARecord(key=key.encode() if isinstance(key, str) else key, value=value)


class Bucket:
    """A bucket's durable records and its partition of the topic."""

    def __init__(self, rows: Mapping[str, bytes], records: Sequence[ARecord] = ()) -> None:
        self.stored = dict(rows)
        self.log = list(records)
        #: Rows that a worker stores after the next batch was sent, and publishes before it.
        self.worker: list[tuple[str, bytes]] = []

    async def rows(self, bucket: int, user_ids: Sequence[str]) -> dict[str, bytes]:
        return {user_id: self.stored[user_id] for user_id in user_ids if user_id in self.stored}

    async def rows_after(self, bucket: int, user_id: str, limit: int) -> dict[str, bytes]:
        return {one: self.stored[one] for one in sorted(self.stored) if one > user_id and limit}

    async def send_batch(self, topic: str, partition: int, records: Sequence[KeyedRecord]) -> None:
        assert (topic, partition) == (PREFERENCES.topic, BUCKET)
        for user_id, row in self.worker:
            self.stored[user_id] = row
            self.log.append(a_record(user_id, row))
        self.worker.clear()
        self.log += [a_record(key, value) for key, value, _ in records]

    async def read(self) -> AsyncIterator[ARecord]:
        for record in list(self.log):
            yield record

    async def rebuild(self) -> Rebuilt:
        found = Rebuilt()
        async for batch in BucketRebuild(PREFERENCES, BUCKET, self, self).run(self.read()):
            found += batch
        return found

    def followed(self, *, compacted: bool = False) -> dict[str, bytes]:
        """The rows of a table that reads the partition. `compacted`: only the last record of each key is left."""
        store = MemoryStore(PREFERENCES.decoder(lambda bucket, key: store.get(bucket, key)))
        log = {one.key: one for one in self.log}.values() if compacted else self.log
        store.load(BUCKET, log, len(self.log))
        return {key.decode(): row for key, row in store.rows(BUCKET).items()}


async def check(bucket: Bucket) -> None:
    assert bucket.followed() == bucket.stored
    assert bucket.followed(compacted=True) == bucket.stored
    end = len(bucket.log)
    assert await bucket.rebuild() == Rebuilt(unchanged=len(bucket.stored))
    assert len(bucket.log) == end, "a second rebuild publishes nothing"


async def test_lost_rows_are_published_and_rows_without_a_record_are_removed() -> None:
    stored = {f"u-{number}": a_row(number + 1) for number in range(5)}
    records = [
        a_record("u-0", stored["u-0"]),  # there
        a_record("u-1", a_row(1)),  # older
        a_record("u-2", stored["u-2"]),
        a_record("u-2", None),  # lost
        a_record("gone", a_row(1)),
        a_record(b"\xff", a_row(1)),
        a_record("junk", b"\x80"),
        a_record("deleted", None),
        a_record(None, b"x"),
    ]
    bucket = Bucket(stored, records)
    assert await bucket.rebuild() == Rebuilt(published=4, unchanged=1, removed=3)
    await check(bucket)


async def test_a_row_that_only_stands_before_an_older_one_is_published_again() -> None:
    """A table has the newer one, but compaction keeps the last record."""
    bucket = Bucket({"u": a_row(2)}, [a_record("u", a_row(2)), a_record("u", a_row(1))])
    assert await bucket.rebuild() == Rebuilt(published=1)
    await check(bucket)


async def test_records_of_an_older_copy_of_the_database_replace_newer_rows() -> None:
    bucket = Bucket({"u": a_row(5)}, [a_record("u", a_row(9))])
    assert await bucket.rebuild() == Rebuilt(published=1)
    await check(bucket)


async def test_a_row_that_a_worker_publishes_meanwhile_is_the_last_one() -> None:
    bucket = Bucket({"u": a_row(1)})
    bucket.worker = [("u", a_row(2))]
    assert await bucket.rebuild() == Rebuilt(published=1)
    assert bucket.stored["u"] == a_row(2)
    await check(bucket)


async def test_a_user_who_is_stored_while_the_row_is_removed_has_a_row() -> None:
    bucket = Bucket({}, [a_record("u", a_row(7))])
    bucket.worker = [("u", a_row(1, category=2))]
    assert await bucket.rebuild() == Rebuilt(published=1)
    await check(bucket)


async def test_whatever_the_topic_has_a_follower_has_the_durable_rows_afterwards() -> None:
    """200 seeds: records of any age, tombstones, workers in between."""
    for seed in range(200):
        order = random.Random(seed)
        users = [f"u-{number}" for number in range(12)]
        stored = {user: a_row(order.randint(1, 9)) for user in order.sample(users, 8)}
        values = [None, b"\x80", *map(a_row, range(1, 12))]
        bucket = Bucket(stored, [a_record(order.choice(users), order.choice(values)) for _ in range(40)])
        bucket.worker = [(user, a_row(order.randint(10, 20))) for user in order.sample(users, 3)]
        await bucket.rebuild()
        await check(bucket)


def test_the_command_knows_the_tables() -> None:
    assert set(NAMES) == set(table_rebuild.TABLES)


async def test_rows_of_addresses_are_not_published() -> None:
    bucket = Bucket({"address:sms:1f": encode_row(1, {240: {"sms": False}}), "u-1": a_row(1)})
    assert await bucket.rebuild() == Rebuilt(published=1)
    assert bucket.followed() == {"u-1": a_row(1)}
