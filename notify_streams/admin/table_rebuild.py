"""Publishes the rows of durable records again: `contact_rows`, `preference_rows`.

One bucket after the other. Its partition of the topic is read up to the present end, as a table reads it. Then each row that a table
does not have is published, and each key without a durable record gets a tombstone. A second rebuild publishes nothing.

Workers may write at the same time: they store a record before they publish its row. So the records are read again after each batch,
and a row that has changed meanwhile is published once more. The last row of each key is then the newest, also after compaction. A
user whose first record is stored in the moment of a tombstone is without a row until that second reading, some milliseconds.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from notify_streams.admin.audit.topics import TopicReader
from notify_streams.admin.topics import require_topics
from notify_streams.preferences.repository import PreferenceRepository
from notify_streams.preferences.row_codec import newest_row
from notify_streams.records.address_ids import is_address_id
from notify_streams.records.user_records import newest_contact_row
from notify_streams.registry.contact_repository import ContactRepository
from notify_streams.stores.mongo import Shards
from notify_streams.topics import CONTACT_ROWS, PREFERENCE_ROWS
from notify_streams.transport import BatchProducer, Record

if TYPE_CHECKING:
    from notify_streams.records.batch import KeyedRecord, Producer
    from notify_streams.settings import Settings

#: Rows that are read, published and read again at once.
BATCH_ROWS: Final = 1_000
#: A person waits for the answer.
_CONNECT_MS: Final = 2_000

_RowOf = Callable[[int, bytes], bytes | None]
#: Gives (key, row) of a record that a table keeps, None for one that it leaves out.
_Decode = Callable[[bytes, bytes | None, int], tuple[bytes, bytes | None] | None]


class DurableRows(Protocol):
    """The durable records of one table, as rows by user id."""

    async def rows(self, bucket: int, user_ids: Sequence[str]) -> Mapping[str, bytes]:
        """The rows of the users that have a record."""
        ...

    async def rows_after(self, bucket: int, user_id: str, limit: int) -> Mapping[str, bytes]:
        """The next rows of a bucket in the order of user ids; empty after the last one."""
        ...


@dataclass(frozen=True, slots=True)
class RebuiltTable:
    """A table that can be rebuilt. Its name is that of its MongoDB collection."""

    topic: str
    #: as the table in `tables/` decodes
    decoder: Callable[[_RowOf], _Decode]
    records: Callable[[Shards, float], DurableRows]


TABLES: Final[Mapping[str, RebuiltTable]] = {
    "contacts": RebuiltTable(CONTACT_ROWS, newest_contact_row, ContactRepository),
    "preferences": RebuiltTable(PREFERENCE_ROWS, newest_row, PreferenceRepository),
}


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a rebuild did, in rows."""

    published: int = 0
    unchanged: int = 0
    #: tombstones
    removed: int = 0

    def __add__(self, other: Rebuilt) -> Rebuilt:
        return Rebuilt(self.published + other.published, self.unchanged + other.unchanged, self.removed + other.removed)


async def rebuild(
    settings: Settings, names: Sequence[str], on_progress: Callable[[str, int, Rebuilt], None]
) -> dict[str, Rebuilt]:
    """Rebuild these tables of a region; what was done for each.

    Args:
        on_progress: called after each batch with table, bucket, and what was done.

    Raises:
        StoreUnavailable, SendError: a service does not answer. What was published stays; run it again.
        Refused: topics are missing.
    """
    await require_topics(settings)
    producer = BatchProducer(settings.kafka_connection(), client_id="notify-streams-command")
    # It follows moves of buckets: the rows of one that has moved away would be missing here.
    async with (
        Shards(settings, follows=True, serverSelectionTimeoutMS=_CONNECT_MS) as shards,
        TopicReader(settings) as topics,
    ):
        try:
            await producer.start()
            return {name: await rebuild_table(settings, name, shards, topics, producer, on_progress) for name in names}
        finally:
            await producer.stop()


async def rebuild_table(
    settings: Settings,
    name: str,
    shards: Shards,
    topics: TopicReader,
    producer: Producer,
    on_progress: Callable[[str, int, Rebuilt], None],
) -> Rebuilt:
    """Rebuild one table through these connections; see `rebuild`."""
    table, done = TABLES[name], Rebuilt()
    durable = table.records(shards, settings.outbox.transaction_timeout_s)
    for bucket in range(settings.partitions):
        records = (record async for _, record in topics.read([table.topic], [bucket]))
        async for batch in BucketRebuild(table, bucket, durable, producer).run(records):
            done += batch
            on_progress(name, bucket, batch)
    return done


class BucketRebuild:
    """The rebuild of one bucket of one table. Holds one partition's rows in memory."""

    def __init__(self, table: RebuiltTable, bucket: int, durable: DurableRows, producer: Producer) -> None:
        self._topic = table.topic
        self._bucket = bucket
        self._durable = durable
        self._producer = producer
        #: What a table has that has read the partition.
        self._rows: dict[bytes, bytes] = {}
        #: Keys whose last record a table leaves out: after compaction it is the only one.
        self._left_out: set[bytes] = set()
        self._decode = table.decoder(lambda _, key: self._rows.get(key))

    async def run(self, records: AsyncIterator[Record]) -> AsyncIterator[Rebuilt]:
        """Rebuild, and tell after each batch what it did. `records`: of the partition, up to its present end."""
        async for record in records:
            self._fold(record)
        without_record = {*self._rows, *self._left_out}
        last = ""
        while page := await self._durable.rows_after(self._bucket, last, BATCH_ROWS):
            *_, last = page
            # Rows of addresses are in no table.
            wanted: dict[bytes, bytes | None] = {
                user_id.encode(): row for user_id, row in page.items() if not is_address_id(user_id)
            }
            without_record -= wanted.keys()
            yield await self._settle(wanted)
        keys = sorted(without_record)
        for at in range(0, len(keys), BATCH_ROWS):
            # A record may have been stored since its page was read.
            yield await self._settle(await self._stored(keys[at : at + BATCH_ROWS]))

    def _fold(self, record: Record) -> None:
        key = record.key
        if key is None:
            return
        kept = self._decode(key, record.value, self._bucket)
        if kept is None:
            self._left_out.add(key)
            return
        self._left_out.discard(key)
        if kept[1] is None:
            self._rows.pop(key, None)
        else:
            self._rows[key] = kept[1]

    async def _settle(self, wanted: dict[bytes, bytes | None]) -> Rebuilt:
        """Publish what differs from `wanted` (None: no record), until it is what the durable records say."""
        changes = {key: row for key, row in wanted.items() if key in self._left_out or self._rows.get(key) != row}
        unchanged = len(wanted) - len(changes)
        published = dict(changes)
        while changes:
            await self._producer.send_batch(self._topic, self._bucket, [*self._outputs(changes)])
            found = await self._stored(changes)
            changes = {key: row for key, row in found.items() if row != changes[key]}
            published |= changes
        removed = sum(row is None for row in published.values())
        return Rebuilt(len(published) - removed, unchanged, removed)

    def _outputs(self, changes: Mapping[bytes, bytes | None]) -> Iterator[KeyedRecord]:
        for key, row in changes.items():
            # A record that is older than the table's row has been restored from a copy: a table takes it after a tombstone only.
            if row is not None and self._decode(key, row, self._bucket) is None:
                yield key, None, ()
            yield key, row, ()

    async def _stored(self, keys: Iterable[bytes]) -> dict[bytes, bytes | None]:
        """The durable row of each key; None without a record, also for a key that is no user id."""
        user_ids = {key: _text(key) for key in keys}
        found = await self._durable.rows(self._bucket, [text for text in user_ids.values() if text])
        return {key: found.get(text) if text else None for key, text in user_ids.items()}


def _text(key: bytes) -> str | None:
    try:
        return key.decode()
    except UnicodeDecodeError:
        return None
