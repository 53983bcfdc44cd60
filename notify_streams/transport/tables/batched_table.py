"""A table partitioned like its source topics.

Every write is one batch in the changelog before it is in the table, so a recovery restores what the table showed. Source partitions start
only after their rows are recovered.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from faust.types import TP, AppT

from notify_streams.transport.app_state import app_state, kafka_connection, on_assigned, on_revoked, producer_of
from notify_streams.transport.tables.changelog_table import ChangelogTable
from notify_streams.transport.tables.changelog_topic import ensure_changelog
from notify_streams.transport.tables.memory_store import in_memory
from notify_streams.transport.tables.store import Decode, Encode, StoreFactory, decode_raw, encode_raw


class PartitionNotOwned(Exception):
    """The partition was revoked, or is not recovered yet. Do not acknowledge the source batch: it is delivered again."""

    def __init__(self, table: str, partition: int) -> None:
        super().__init__(f"this worker does not own partition {partition} of table {table}")


class BatchedTable(ChangelogTable):
    """Rows by partition and key."""

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
            standby: partitions to follow while another worker owns them; `range(partitions)` for all.
            changelog: the topic's name; None: `<app id>-<name>-changelog`. Created, compacted, if it is missing.
        """
        super().__init__(app, name, store, decode, encode, shared=False)
        self.partitions = partitions
        #: Partitions that this worker has recovered and may write.
        self.owned: frozenset[int] = frozenset()
        self._encode = encode
        self._sources = frozenset(sources) if sources is not None else None
        self._standby = frozenset(standby)
        self._changelog = changelog
        self._replication = replication
        self._locks: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)
        on_assigned(app, self._recover)
        on_revoked(app, self._disown)

    @property
    def changelog(self) -> str:
        """The changelog topic's name."""
        return self._changelog or f"{self.app.conf.id}-{self.name}-changelog"

    def get(self, partition: int, key: Any) -> Any:
        """The row's value or None."""
        return self.store.get(partition, key)

    def get_many(self, partition: int, keys: Sequence[Any]) -> list[Any]:
        """Values in the order of `keys`, None for rows that do not exist; one call to the store."""
        return self.store.get_many(partition, keys)

    async def apply(self, partition: int, rows: Mapping[Any, Any]) -> None:
        """Write rows (None deletes): to the changelog as one batch, then to the table. On return they are durable.

        Concurrent calls for one partition are applied in their order.

        Raises:
            PartitionNotOwned: nothing was written.
            BatchNotSent: the table is unchanged; the changelog may have some of the rows.
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
                # Another worker that also believed to own the partition has written to it: the changelog's order decides.
                await self.follower.catch_up(frozenset([partition]))
                self._follow_standbys()

    async def _start(self) -> None:
        await ensure_changelog(kafka_connection(self.app), self.changelog, self.partitions, self._replication)
        self._follow(self.changelog).follow(self._standby)

    async def _recover(self, tps: frozenset[TP]) -> None:
        sources = self._sources if self._sources is not None else app_state(self.app).batched_topics
        assigned = frozenset(tp.partition for tp in tps if tp.topic in sources)
        self.owned = frozenset()
        await self.follower.catch_up(assigned)
        for partition in range(self.partitions):
            if partition not in assigned | self._standby:
                self.store.release(partition)
        self.owned = assigned
        self._follow_standbys()

    def _disown(self, tps: frozenset[TP]) -> None:
        self.owned = frozenset()

    def _follow_standbys(self) -> None:
        self.follower.follow(self._standby - self.owned)
