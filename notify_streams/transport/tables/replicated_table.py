"""A table of which every worker holds all rows: a compacted topic, read whole and then followed.

In: a topic that others write. Out: rows by key, a few milliseconds after they were written. Written by nobody here.
A consumer without a group reads it, so that no rebalance, and no dead worker, delays an update.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from aiokafka.errors import UnknownTopicOrPartitionError
from faust.types import TP, AppT

from notify_streams.transport.app_state import app_state, kafka_connection, on_assigned
from notify_streams.transport.tables.changelog_reader import ChangelogReader
from notify_streams.transport.tables.follower import Follower
from notify_streams.transport.tables.memory_store import in_memory
from notify_streams.transport.tables.recovery_progress import RecoveryProgress
from notify_streams.transport.tables.store import Decode, Encode, Store, StoreFactory, decode_raw, encode_raw


class TopicMissing(Exception):
    """The topic does not exist: create it before the app starts."""

    def __init__(self, topic: str, remedy: str) -> None:
        super().__init__(f"{topic} does not exist, {remedy}")


class ReplicatedTable:
    """Declared beside the topics, started with the app."""

    def __init__(
        self,
        app: AppT,
        topic: str,
        *,
        store: StoreFactory = in_memory,
        decode: Decode = decode_raw,
        encode: Encode = encode_raw,
        required: bool = True,
    ) -> None:
        """
        Args:
            topic: must exist when the app starts. A key must always be in the same partition.
            required: hold the app's source partitions back until the table is caught up.
        """
        self.app = app
        self.topic = self.name = topic
        self._open_store, self._decode, self._encode = store, decode, encode
        self._store: Store | None = None
        self._follower: Follower | None = None
        self._caught_up: asyncio.Future[None] | None = None
        app_state(app).lifecycles.append((self._start, self._stop))
        app_state(app).tables.append(self)
        if required:
            on_assigned(app, self._hold_back)

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

    @property
    def ready(self) -> bool:
        """Whether the table has everything that was in the topic when the app started."""
        return self._caught_up is not None and self._caught_up.done() and not self._caught_up.cancelled()

    async def wait_until_caught_up(self) -> None:
        """Wait until the table is ready."""
        if self._caught_up is None:
            raise RuntimeError(f"table {self.name} starts with the app")
        await asyncio.shield(self._caught_up)

    def get(self, key: Any) -> Any:
        """One value, or None."""
        return self.store.get(0, key)

    def get_many(self, keys: Sequence[Any]) -> list[Any]:
        """Values in the order of `keys`, None for those that are not there; one call to the store."""
        return self.store.get_many(0, keys)

    def progress(self) -> RecoveryProgress:
        """How far the first reading is."""
        return self.follower.progress()

    async def _start(self) -> None:
        connection = kafka_connection(self.app)
        settings = app_state(self.app).settings
        partitions = await self._partitions(ChangelogReader(connection, self.topic, settings))
        self._store = self._open_store(self._decode, self._encode, True)
        self._follower = Follower(self.name, self._store, lambda: ChangelogReader(connection, self.topic, settings))
        self._follower.start()
        self._caught_up = asyncio.ensure_future(self._follower.catch_up(partitions))

    async def _partitions(self, reader: ChangelogReader) -> frozenset[int]:
        await reader.start()
        try:
            return await reader.partitions()
        except UnknownTopicOrPartitionError as exc:
            raise TopicMissing(self.topic, app_state(self.app).settings.missing_topics_remedy) from exc
        finally:
            await reader.stop()

    async def _stop(self) -> None:
        if self._caught_up is not None:
            self._caught_up.cancel()
        if self._follower is not None:
            await self._follower.stop()
        if self._store is not None:
            self._store.close()
        self._store = self._follower = self._caught_up = None

    async def _hold_back(self, tps: frozenset[TP]) -> None:
        await self.wait_until_caught_up()
