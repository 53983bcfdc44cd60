"""A table of which a worker has the rows of its partitions.

Reads a compacted topic that other processes write. Source partitions start only after their rows are read.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from faust.types import TP, AppT

from notify_streams.transport.app_state import app_state, on_assigned
from notify_streams.transport.record_batch import Record
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
        on_records: Callable[[Sequence[Record]], None] | None = None,
    ) -> None:
        """
        Args:
            topic: must exist when the app starts, with the partitions of the source topics.
            sources: source topics whose partition numbers are the table's; None: all batched topics of the app.
        """
        super().__init__(app, topic, store, decode, on_records)
        #: Assigned partitions whose rows are read.
        self.partitions: frozenset[int] = frozenset()
        self._sources = frozenset(sources) if sources is not None else None
        on_assigned(app, self._recover)

    def lag_s(self) -> float:
        """The table has everything that the topic had so many seconds ago; 0 without partitions."""
        return self.follower.lag_s()

    async def _start(self) -> None:
        await self._follow()

    async def _recover(self, tps: frozenset[TP]) -> None:
        sources = self._sources if self._sources is not None else app_state(self.app).batched_topics
        assigned = frozenset(tp.partition for tp in tps if tp.topic in sources)
        self.partitions &= assigned
        await self.follower.catch_up(assigned)
        self.follower.follow(assigned)
        for partition in self.store.partitions() - assigned:
            self.store.release(partition)
        self.partitions = assigned
