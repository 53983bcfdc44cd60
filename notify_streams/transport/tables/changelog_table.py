"""`ChangelogTable`: the store and the follower that both kinds of table have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from aiokafka.errors import UnknownTopicOrPartitionError
from faust.types import AppT

from notify_streams.transport.app_state import app_state, kafka_connection
from notify_streams.transport.record_batch import Record
from notify_streams.transport.tables.changelog_reader import ChangelogReader
from notify_streams.transport.tables.follower import Follower
from notify_streams.transport.tables.recovery_progress import RecoveryProgress
from notify_streams.transport.tables.store import Decode, Store, StoreFactory


class TopicMissing(Exception):
    """The topic does not exist: create it before the app starts."""

    def __init__(self, topic: str, remedy: str) -> None:
        super().__init__(f"{topic} does not exist, {remedy}")


class ChangelogTable:
    """Declared beside the topics; starts and stops with the app. `name` is the topic, which must exist then."""

    def __init__(
        self,
        app: AppT,
        name: str,
        store: StoreFactory,
        decode: Decode,
        on_records: Callable[[Sequence[Record]], None] | None = None,
    ) -> None:
        """`on_records` gets the records of a partition, in order, when they are in the store."""
        self.app = app
        self.name = name
        self._open_store = partial(store, decode)
        self._on_records = on_records
        self._store: Store | None = None
        self._follower: Follower | None = None
        app_state(app).lifecycles.append((self._start, self._stop))

    @property
    def store(self) -> Store:
        """The rows. Open while the app runs."""
        if self._store is None:
            raise RuntimeError(f"table {self.name} is not open: start the app first")
        return self._store

    @property
    def follower(self) -> Follower:
        """Reads the changelog into the store."""
        if self._follower is None:
            raise RuntimeError(f"table {self.name} is not open: start the app first")
        return self._follower

    def get(self, partition: int, key: Any) -> Any:
        """The row's value or None."""
        return self.store.get(partition, key)

    def get_many(self, partition: int, keys: Sequence[Any]) -> list[Any]:
        """Values in the order of `keys`, None for rows that do not exist; one call to the store."""
        return self.store.get_many(partition, keys)

    def progress(self) -> RecoveryProgress:
        """How far recovery is."""
        return self.follower.progress()

    def new_reader(self, topic: str) -> ChangelogReader:
        """A reader of `topic` with the app's settings; not started."""
        return ChangelogReader(kafka_connection(self.app), topic, app_state(self.app).settings)

    async def _start(self) -> None:
        raise NotImplementedError

    async def _follow(self) -> frozenset[int]:
        """Open the store and start to read the topic into it. Returns the topic's partitions.

        Raises:
            TopicMissing: the topic does not exist.
        """
        partitions = await self._partitions()
        self._store = self._open_store()
        self._follower = Follower(
            self.name, self._store, partial(self.new_reader, self.name), self.app.crash, self._on_records
        )
        self._follower.start()
        app_state(self.app).followers.append(self._follower)
        return partitions

    async def _partitions(self) -> frozenset[int]:
        reader = self.new_reader(self.name)
        await reader.start()
        try:
            return await reader.partitions()
        except UnknownTopicOrPartitionError as error:
            raise TopicMissing(self.name, app_state(self.app).settings.missing_topics_remedy) from error
        finally:
            await reader.stop()

    async def _stop(self) -> None:
        if self._follower is not None:
            app_state(self.app).followers.remove(self._follower)
            await self._follower.stop()
        if self._store is not None:
            self._store.close()
        self._store = self._follower = None
