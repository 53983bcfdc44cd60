"""The region's MongoDB shards: a bucket lives on exactly one of them, so whatever carries a bucket is a single-shard operation.

Each shard is a replica set of its own, or all are one mongos that routes by the shard key ``{bucket: 1, _id: 1}``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from bson.codec_options import CodecOptions
from pymongo import AsyncMongoClient, ReadPreference
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

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


class Shards:
    """Clients of every shard. Reads are majority reads from the primary; writes are majority writes, journalled."""

    def __init__(self, settings: Settings, app_name: str = "notify-streams", **client_options: Any) -> None:
        self._settings = settings
        self._app_name = app_name
        self._client_options = client_options
        self._clients: list[AsyncMongoClient[Document]] = []

    async def start(self) -> None:
        """Make the clients; each connects at its first use."""
        timeout_ms = int(self._settings.outbox.transaction_timeout_s * 1000)
        for uri in self._settings.shards:
            options: dict[str, Any] = {
                "appname": self._app_name,
                "serverSelectionTimeoutMS": timeout_ms,
                "connectTimeoutMS": timeout_ms,
                "socketTimeoutMS": 2 * timeout_ms,
                "heartbeatFrequencyMS": 1_000,
                "retryWrites": True,
                "maxPoolSize": 32,
            }
            self._clients.append(AsyncMongoClient(uri, **(options | self._client_options)))

    async def close(self) -> None:
        clients, self._clients = self._clients, []
        for client in clients:
            await client.close()

    def __len__(self) -> int:
        return len(self._settings.shards)

    def of(self, bucket: int) -> int:
        """The index of the shard that holds `bucket`."""
        return self._settings.shard_of(bucket)

    def client(self, shard: int) -> AsyncMongoClient[Document]:
        return self._clients[shard]

    def database(self, shard: int) -> AsyncDatabase[Document]:
        return self._clients[shard].get_database(
            self._settings.database, _OPTIONS, ReadPreference.PRIMARY, DURABLE, ReadConcern("majority")
        )

    def collection(self, name: str, bucket: int) -> AsyncCollection[Document]:
        """The collection `name` on the shard of `bucket`."""
        return self.database(self.of(bucket))[name]

    def buckets(self, shard: int) -> list[int]:
        """The buckets that live on `shard`."""
        return [bucket for bucket in range(self._settings.partitions) if self.of(bucket) == shard]
