"""The region's MongoDB shards: a bucket lives on exactly one of them, so whatever carries a bucket is a single-shard operation.

Each shard is a replica set of its own, or all are one mongos that routes by the shard key ``{bucket: 1, _id: 1}``.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from bson.codec_options import CodecOptions
from pymongo import AsyncMongoClient, ReadPreference
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from notify_streams import tasks
from notify_streams.errors import StoreUnavailable
from notify_streams.stores.bucket_directory import LEASE_S, BucketDirectory

if TYPE_CHECKING:
    from pymongo.asynchronous.collection import AsyncCollection
    from pymongo.asynchronous.database import AsyncDatabase

    from notify_streams.settings import Settings

Document = dict[str, Any]

NOTIFICATIONS: Final = "notifications"
OUTBOX: Final = "outbox"
LEDGER: Final = "ledger"
PREFERENCES: Final = "preferences"
TIMERS: Final = "timers"

#: What is acknowledged survives the loss of any one member.
DURABLE: Final = WriteConcern(w="majority", j=True, wtimeout=10_000)
_OPTIONS: Final[CodecOptions[Document]] = CodecOptions(tz_aware=True)
#: How many times within a lease a shard is asked which buckets it has handed on.
_ASKED_A_LEASE: Final = 5


class Shards:
    """Clients of every shard. Reads are majority reads from the primary; writes are majority writes, journalled."""

    def __init__(
        self,
        settings: Settings,
        app_name: str = "notify-streams",
        *,
        follows: bool = False,
        lease_s: float = LEASE_S,
        **client_options: Any,
    ) -> None:
        """Whoever lives longer than a command `follows` the buckets that are moved; a command looks once (`learn`)."""
        self._settings = settings
        #: Whether it hears of buckets that are moved while it is open.
        self.follows = follows
        self._lease_s = lease_s
        self._moved = BucketDirectory(len(settings.shards), lease_s, settings.outbox.transaction_timeout_s)
        self._following: list[asyncio.Task[None]] = []
        #: What MongoDB shows of whoever uses these clients.
        self.app_name = app_name
        self._client_options = client_options
        self._clients: list[AsyncMongoClient[Document]] = []

    async def start(self) -> None:
        """Make the clients; each connects at its first use. Who follows hears of moved buckets first, or goes on without after a lease."""
        timeout_ms = int(self._settings.outbox.transaction_timeout_s * 1000)
        for uri in self._settings.shards:
            options: dict[str, Any] = {
                "appname": self.app_name,
                "serverSelectionTimeoutMS": timeout_ms,
                "connectTimeoutMS": timeout_ms,
                "socketTimeoutMS": 2 * timeout_ms,
                "heartbeatFrequencyMS": 1_000,
                "retryWrites": True,
                "maxPoolSize": 32,
            }
            self._clients.append(AsyncMongoClient(uri, **(options | self._client_options)))
        if self.follows:
            await self.learn()
            self._following = [asyncio.create_task(self._follow(shard)) for shard in range(len(self))]

    async def learn(self) -> None:
        """Ask every shard which buckets it has handed on; one that does not answer cannot be used anyway."""
        await asyncio.gather(*(self._ask(shard) for shard in range(len(self))))

    async def learn_all(self) -> None:
        """The same, for who must know it of all.

        Raises:
            StoreUnavailable: a shard does not answer.
        """
        await asyncio.gather(*(self._moved.ask(shard, self._database(shard)) for shard in range(len(self))))

    async def _ask(self, shard: int) -> None:
        with suppress(StoreUnavailable):
            await self._moved.ask(shard, self._database(shard))

    async def _follow(self, shard: int) -> None:
        while True:
            await asyncio.sleep(self._lease_s / _ASKED_A_LEASE)
            await self._ask(shard)

    async def close(self) -> None:
        following, self._following = self._following, []
        await tasks.stop(following)
        clients, self._clients = self._clients, []
        for client in clients:
            await client.close()

    def __len__(self) -> int:
        return len(self._settings.shards)

    def of(self, bucket: int) -> int:
        """The index of the shard that holds `bucket`."""
        return self._moved.place_of(bucket, self._settings.shard_of(bucket))

    def client(self, shard: int) -> AsyncMongoClient[Document]:
        return self._clients[shard]

    def database(self, shard: int) -> AsyncDatabase[Document]:
        """The database on `shard`, for one operation: ask for it again for the next.

        Raises:
            StoreUnavailable: it is not known whether the shard still has its buckets (see `stores.moved`).
        """
        if self.follows:
            self._moved.check(shard)
        return self._database(shard)

    def _database(self, shard: int) -> AsyncDatabase[Document]:
        return self._clients[shard].get_database(
            self._settings.database, _OPTIONS, ReadPreference.PRIMARY, DURABLE, ReadConcern("majority")
        )

    def collection(self, name: str, bucket: int) -> AsyncCollection[Document]:
        """The collection `name` on the shard of `bucket`."""
        return self.database(self.of(bucket))[name]

    def buckets(self, shard: int) -> list[int]:
        """The buckets that live on `shard`."""
        return [bucket for bucket in self.all_buckets() if self.of(bucket) == shard]

    def all_buckets(self) -> list[int]:
        return list(range(self._settings.partitions))
