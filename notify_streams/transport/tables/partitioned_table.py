"""A table of which a worker has the rows of its partitions.

Reads a compacted topic that other processes write. Source partitions start only after their rows are read.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from faust.types import TP, AppT

from notify_streams.transport.app_state import app_state, on_assigned
from notify_streams.transport.tables.changelog_table import ChangelogTable
from notify_streams.transport.tables.memory_store import in_memory
from notify_streams.transport.tables.store import Decode, StoreFactory, decode_raw


class PartitionedTable(ChangelogTable):
    """Rows by partition and key. A partition that is not assigned has no rows."""

    def __init__(
        self,
        app: AppT,
        topic: str,
        *,
        store: StoreFactory = in_memory,
        decode: Decode = decode_raw,
        sources: Collection[str] | None = None,
    ) -> None:
        """
        Args:
            topic: must exist when the app starts, with the partitions of the source topics.
            sources: source topics whose partition numbers are the table's; None: all batched topics of the app.
        """
        super().__init__(app, topic, store, decode, shared=False)
        #: Assigned partitions whose rows are read.
        self.partitions: frozenset[int] = frozenset()
        self._sources = frozenset(sources) if sources is not None else None
        on_assigned(app, self._recover)

    def get(self, partition: int, key: Any) -> Any:
        """The row's value or None."""
        return self.store.get(partition, key)

    def get_many(self, partition: int, keys: Sequence[Any]) -> list[Any]:
        """Values in the order of `keys`, None for rows that do not exist; one call to the store."""
        return self.store.get_many(partition, keys)

    def lag_s(self) -> float:
        """The table has everything that the topic had so many seconds ago; 0 without partitions."""
        return self.follower.lag_s()

    async def _start(self) -> None:
        await self._follow()

    async def _recover(self, tps: frozenset[TP]) -> None:
        sources = self._sources if self._sources is not None else app_state(self.app).batched_topics
        assigned = frozenset(tp.partition for tp in tps if tp.topic in sources)
        released, self.partitions = self.partitions - assigned, frozenset()
        await self.follower.catch_up(assigned)
        self.follower.follow(assigned)
        for partition in released:
            self.store.release(partition)
        self.partitions = assigned
