"""The region's MongoDB shards: one client factory, and where a bucket's data is.

All data of a bucket is on exactly one shard, so every operation on a bucket is a single-shard operation. Each shard is a replica set, or the
only shard is a mongos that routes by the shard key ``{bucket: 1, _id: 1}``.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar

from bson.codec_options import CodecOptions
from pymongo import AsyncMongoClient, ReadPreference
from pymongo.errors import BulkWriteError, PyMongoError
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from notify_streams import tasks
from notify_streams.addresses import without_credentials
from notify_streams.errors import Refused
from notify_streams.stores.bucket_directory import LEASE_S, BucketDirectory
from notify_streams.stores.mongo_waits import mend_waits
from notify_streams.stores.shard_clocks import FollowedClocks

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence
    from typing import Self

    from pymongo.asynchronous.client_session import AsyncClientSession
    from pymongo.asynchronous.collection import AsyncCollection
    from pymongo.asynchronous.database import AsyncDatabase

    from notify_streams.security import MongoSecurity
    from notify_streams.settings import Settings

Document = dict[str, Any]
Item = TypeVar("Item")

NOTIFICATIONS: Final = "notifications"
OUTBOX: Final = "outbox"
LEDGER: Final = "ledger"
PREFERENCES: Final = "preferences"
CONTACTS: Final = "contacts"
TIMERS: Final = "timers"
ATTEMPTS: Final = "attempts"
CONSENTS: Final = "consents"
ERASURES: Final = "erasures"
SEALED_SUMS: Final = "sealed_sums"
OUTCOMES: Final = "outcomes"

#: An acknowledged write survives the loss of any one member.
DURABLE: Final = WriteConcern(w="majority", j=True, wtimeout=10_000)
#: Of the reads within a transaction.
SNAPSHOT: Final = ReadConcern("snapshot")
#: Time-outs after which no operation can be under way.
_OPERATIONS: Final = 4
#: A worker that starts waits no longer for a shard that does not answer.
_CONNECT_MS: Final = 2_000
_OPTIONS: Final[CodecOptions[Document]] = CodecOptions(tz_aware=True)


def mongo_client(
    uri: str, security: MongoSecurity, app_name: str, timeout_s: float, **options: Any
) -> AsyncMongoClient[Document]:
    """A client for one shard; `options` of the driver replace these."""
    mend_waits()
    timeout_ms = int(timeout_s * 1000)
    defaults: dict[str, Any] = {
        "appname": app_name,
        "serverSelectionTimeoutMS": timeout_ms,
        "connectTimeoutMS": timeout_ms,
        "socketTimeoutMS": 2 * timeout_ms,
        "heartbeatFrequencyMS": 1_000,
        "retryWrites": True,
        "maxPoolSize": 32,
    }
    return AsyncMongoClient(uri, **(defaults | _security_options(security) | options))


async def run_transaction(
    client: AsyncMongoClient[Document], body: Callable[[AsyncClientSession], Awaitable[None]]
) -> None:
    """Run `body` in a transaction, and again after transient errors.

    Raises:
        PyMongoError
    """
    async with client.start_session() as session:
        await session.with_transaction(body, read_concern=SNAPSHOT, write_concern=DURABLE)


async def write_in_session(
    session: AsyncClientSession, database: AsyncDatabase[Document], command: str, collection: str, **arguments: Any
) -> int:
    """Run insert, update or delete in order; returns how many documents it matched, inserted or deleted.

    The driver's helpers take twice as long for a small transaction.

    Raises:
        BulkWriteError: a statement was refused.
    """
    reply = await database.command({command: collection, "ordered": True, **arguments}, session=session)
    if reply.get("writeErrors"):
        raise BulkWriteError(reply)
    return int(reply["n"])


async def next_of_bucket(collection: AsyncCollection[Document], bucket: int, after: str, limit: int) -> list[Document]:
    """The next documents of a bucket whose ids are texts, in their order. Numeric ids, those of marks, are left out."""
    query = {"bucket": bucket, "_id": {"$gt": after}}
    return await collection.find(query, batch_size=limit).sort("_id", 1).limit(limit).to_list()


def _security_options(security: MongoSecurity) -> dict[str, Any]:
    found: dict[str, Any] = {
        "username": security.username,
        "password": None if security.password is None else security.password.reveal(),
        "authSource": security.auth_source,
        "authMechanism": security.mechanism,
    }
    if security.tls is not None:
        found |= {
            "tls": True,
            "tlsCAFile": security.tls.ca_file,
            "tlsCertificateKeyFile": security.tls.certificate_file,
            "tlsAllowInvalidHostnames": not security.tls.check_hostname,
        }
    return {name: value for name, value in found.items() if value is not None}


async def require_partition_count(settings: Settings) -> None:
    """Check what the shards that answer say about the number of buckets.

    Raises:
        Refused: the region has another number of buckets than the settings say, is growing, or is of an earlier checkout.
    """
    async with Shards(settings, serverSelectionTimeoutMS=_CONNECT_MS) as shards:
        await shards.refresh_directory()
        with suppress(PyMongoError):
            await refuse_earlier_region(settings, shards)


async def refuse_earlier_region(settings: Settings, shards: Shards) -> None:
    """Check that the region is not of before 0.1.0: then no shard has the number of buckets, and one has ledgers.

    Its ledgers lack counts, and what its channel roles had sent is in documents that this release does not read. Read the directory first.

    Raises:
        Refused: it is.
        PyMongoError
    """
    if shards.directory.is_counted() or shards.directory.expired():
        return
    for shard in range(len(shards)):
        if await shards.database(shard)[LEDGER].find_one({}, {"_id": 1}) is not None:
            raise Refused(
                f"region {settings.region}: the database {settings.database!r} is of an earlier checkout, whose books cannot be continued: "
                "set another `database`"
            )


def by_shard(shards: Shards, items: Iterable[Item], bucket_of: Callable[[Item], int]) -> dict[int, list[Item]]:
    """The items of each shard, in their order, by the shard of their bucket."""
    found: dict[int, list[Item]] = {}
    for one in items:
        found.setdefault(shards.of(bucket_of(one)), []).append(one)
    return found


class Shards:
    """Clients of every shard. Reads are majority reads from the primary; writes are majority writes, journalled.

    `start` and `close`, or ``async with Shards(settings) as shards``.
    """

    def __init__(
        self,
        settings: Settings,
        app_name: str = "notify-streams",
        *,
        follows: bool = False,
        lease_s: float = LEASE_S,
        **client_options: Any,
    ) -> None:
        """`follows=True`: keep polling for bucket moves (workers). False: `refresh_directory` reads them once (commands)."""
        self._settings = settings
        self.follows = follows
        #: What `$currentOp` shows as `appName` for these clients.
        self.app_name = app_name
        self._timeout_s = settings.outbox.transaction_timeout_s
        self.directory = BucketDirectory(
            settings.shard_of,
            self._database,
            [*map(without_credentials, settings.shards)],
            lease_s,
            self._timeout_s,
            settings.partitions,
        )
        #: With `follows` they are read; without, they show the clock of this machine.
        self.clocks = FollowedClocks(self, self._timeout_s)
        self._client_options = client_options
        self._security = settings.mongo_security
        self._clients: list[AsyncMongoClient[Document]] = []
        #: Of the clients that were replaced, until they are closed.
        self._closing: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Create the clients; each connects at its first use. With `follows`, also read the bucket directory and start polling it."""
        self._clients = self._new_clients()
        if self.follows:
            await self.clocks.start()
            await self.directory.start_polling()

    def use(self, security: MongoSecurity) -> None:
        """Log in with this from now on. Operations under way end with the clients that they have begun with.

        A transaction in which the clients change fails once, and is tried again.
        """
        self._security = security
        if self._clients:
            self._closing = [task for task in self._closing if not task.done()]
            self._closing.append(asyncio.create_task(self._close_later(self._clients)))
            self._clients = self._new_clients()

    def _new_clients(self) -> list[AsyncMongoClient[Document]]:
        return [
            mongo_client(uri, self._security, self.app_name, self._timeout_s, **self._client_options)
            for uri in self._settings.shards
        ]

    async def _close_later(self, clients: Sequence[AsyncMongoClient[Document]]) -> None:
        try:
            await asyncio.sleep(_OPERATIONS * self._timeout_s)
        finally:
            for client in clients:
                await client.close()

    async def refresh_directory(self, *, require_all: bool = False) -> None:
        """Read once which buckets were moved. A shard that does not answer is skipped.

        Raises:
            StoreUnavailable: with `require_all`, if a shard does not answer.
            Refused: the region has another number of buckets than the settings say, or is growing.
        """
        await self.directory.refresh(require_all=require_all)
        if (problem := self.directory.problem()) is not None:
            raise Refused(f"region {self._settings.region}: {problem}")

    async def close(self) -> None:
        await self.clocks.stop()
        await self.directory.stop_polling()
        await tasks.stop(self._closing)
        clients, self._clients = self._clients, []
        for client in clients:
            await client.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __len__(self) -> int:
        return len(self._settings.shards)

    def of(self, bucket: int) -> int:
        """The index of the shard that holds `bucket`."""
        return self.directory.shard_of(bucket)

    def silent(self) -> list[int]:
        """The shards that have not answered within the lease, so that no call to them is worth its time. Only with `follows`."""
        return self.directory.expired() if self.follows else []

    def is_silent(self, bucket: int) -> bool:
        """Whether the shard of `bucket` is `silent`."""
        return self.of(bucket) in self.silent()

    def client(self, shard: int) -> AsyncMongoClient[Document]:
        return self._clients[shard]

    def database(self, shard: int) -> AsyncDatabase[Document]:
        """The database on `shard`, for one operation: call this again for the next one.

        Raises:
            StoreUnavailable: with `follows`, if the lease on the shard's directory entries has expired.
        """
        if self.follows:
            self.directory.check_lease(shard)
        return self._database(shard)

    def _database(self, shard: int) -> AsyncDatabase[Document]:
        return self._clients[shard].get_database(
            self._settings.database, _OPTIONS, ReadPreference.PRIMARY, DURABLE, ReadConcern("majority")
        )

    def collection(self, name: str, bucket: int) -> AsyncCollection[Document]:
        """The collection `name` on the shard of `bucket`."""
        return self.database(self.of(bucket))[name]

    def buckets(self, shard: int) -> list[int]:
        """The buckets on `shard`."""
        return [bucket for bucket in self.all_buckets() if self.of(bucket) == shard]

    def all_buckets(self) -> list[int]:
        return list(range(self._settings.partitions))
