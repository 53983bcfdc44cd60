"""A table that is split like its source topics: a worker holds the rows of the partitions it was assigned.

In: rows, a partition's at a time. Out: rows by key. Every write is one batch in the changelog before it is in the
table: what the table shows, a recovery brings back. Source partitions flow only after their rows are recovered.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from faust.types import TP, AppT

from notify_streams.transport.app_state import app_state, kafka_connection, on_assigned, on_revoked, producer_of
from notify_streams.transport.tables.changelog_reader import ChangelogReader
from notify_streams.transport.tables.changelog_topic import ensure_changelog
from notify_streams.transport.tables.follower import Follower
from notify_streams.transport.tables.memory_store import in_memory
from notify_streams.transport.tables.recovery_progress import RecoveryProgress
from notify_streams.transport.tables.store import Decode, Encode, Store, StoreFactory, decode_raw, encode_raw


class PartitionNotOwned(Exception):
    """The partition was revoked, or not recovered yet: do not acknowledge the source batch, it comes again."""

    def __init__(self, table: str, partition: int) -> None:
        super().__init__(f"this worker does not own partition {partition} of table {table}")


class BatchedTable:
    """Declared beside the topics, started with the app."""

    def __init__(
        self,
        app: AppT,
        name: str,
        *,
        partitions: int,
        store: StoreFactory = in_memory,
        decode: Decode = decode_raw,
        encode: Encode = encode_raw,
        sources: Collection[str] | None = None,
        standby: Collection[int] = (),
        changelog: str | None = None,
        replication: int = 1,
    ) -> None:
        """
        Args:
            partitions: of the changelog, and of every source topic.
            sources: source topics whose partition numbers are the table's; None: all batched topics of the app.
            standby: partitions to keep a warm copy of while another worker owns them; `range(partitions)` for all.
            changelog: the topic's name, `<app id>-<name>-changelog` if not given. Created compacted if missing.
        """
        self.app = app
        self.name = name
        self.partitions = partitions
        #: Partitions that this worker has recovered and may write.
        self.owned: frozenset[int] = frozenset()
        self._open_store, self._decode, self._encode = store, decode, encode
        self._sources = frozenset(sources) if sources is not None else None
        self._standby = frozenset(standby)
        self._changelog = changelog
        self._replication = replication
        self._locks: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._store: Store | None = None
        self._follower: Follower | None = None
        app_state(app).lifecycles.append((self._start, self._stop))
        app_state(app).tables.append(self)
        on_assigned(app, self._recover)
        on_revoked(app, self._disown)

    @property
    def changelog(self) -> str:
        return self._changelog or f"{self.app.conf.id}-{self.name}-changelog"

    @property
    def store(self) -> Store:
        """The rows. Open from the app's start to its end."""
        if self._store is None:
            raise RuntimeError(f"table {self.name} starts with the app")
        return self._store

    @property
    def follower(self) -> Follower:
        if self._follower is None:
            raise RuntimeError(f"table {self.name} starts with the app")
        return self._follower

    def get(self, partition: int, key: Any) -> Any:
        """One value, or None."""
        return self.store.get(partition, key)

    def get_many(self, partition: int, keys: Sequence[Any]) -> list[Any]:
        """Values in the order of `keys`, None for those that are not there; one call to the store."""
        return self.store.get_many(partition, keys)

    async def apply(self, partition: int, rows: Mapping[Any, Any]) -> None:
        """Write rows (None deletes): to the changelog as one batch, then to the table. Durable on return.

        Writes to one partition happen in the order of the calls.

        Raises:
            PartitionNotOwned: nothing was written.
            BatchNotSent: the table is unchanged, the changelog may hold some of the rows.
        """
        if not rows:
            return
        async with self._locks[partition]:
            if partition not in self.owned:
                raise PartitionNotOwned(self.name, partition)
            encoded = [self._encode(key, value) for key, value in rows.items()]
            position = self.store.position(partition)
            records = [(key, value, ()) for key, value in encoded]
            sent = await producer_of(self.app).send_batch(self.changelog, partition, records)
            assert sent is not None
            if sent.first_offset == position and sent.last_offset == position + sent.count - 1:
                self.store.write(partition, rows, encoded, sent.last_offset + 1)
            else:
                # Another worker believed that it owned the partition: the changelog's order decides.
                await self.follower.catch_up(frozenset([partition]))
                self._follow_standbys()

    def progress(self) -> RecoveryProgress:
        """How far recovery is."""
        return self.follower.progress()

    async def _start(self) -> None:
        connection = kafka_connection(self.app)
        await ensure_changelog(connection, self.changelog, self.partitions, self._replication)
        self._store = self._open_store(self._decode, self._encode, False)
        settings = app_state(self.app).settings
        self._follower = Follower(self.name, self._store, lambda: ChangelogReader(connection, self.changelog, settings))
        self._follower.want(self._standby)
        self._follower.start()

    async def _stop(self) -> None:
        if self._follower is not None:
            await self._follower.stop()
        if self._store is not None:
            self._store.close()
        self._store = self._follower = None

    async def _recover(self, tps: frozenset[TP]) -> None:
        sources = self._sources if self._sources is not None else app_state(self.app).batched_topics
        mine = frozenset(tp.partition for tp in tps if tp.topic in sources)
        self.owned = frozenset()
        await self.follower.catch_up(mine)
        for partition in range(self.partitions):
            if partition not in mine | self._standby:
                self.store.release(partition)
        self.owned = mine
        self._follow_standbys()

    def _disown(self, tps: frozenset[TP]) -> None:
        self.owned = frozenset()

    def _follow_standbys(self) -> None:
        self.follower.want(self._standby - self.owned)
