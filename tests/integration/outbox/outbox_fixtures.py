"""What the outbox tests stand on: one worker's view of a database, a broker that notes and can fail, and a link that can be cut."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Self
from urllib.parse import urlsplit

import msgspec
from pymongo.monitoring import CommandListener

from notify_streams.outbox.decided_batch import DecidedBatch, RecordOutcome
from notify_streams.outbox.flush_loop import FlushLoop
from notify_streams.outbox.flush_plan import Flush, plan_flush
from notify_streams.outbox.ledger import Ledger, sums_close
from notify_streams.outbox.outbox import Outbox
from notify_streams.outbox.relay import Relay
from notify_streams.outbox.row_ids import new_flush_id
from notify_streams.outbox.transaction import FlushStore
from notify_streams.routing.router import conflict
from notify_streams.settings import OutboxSettings, Settings
from notify_streams.stores.mongo import LEDGER, NOTIFICATIONS, OUTBOX, Shards
from tests.builders import AckRecorder, a_decided_batch, an_entry

ROLE = "standard"
SOURCE = ("triggers.payments", 2)
#: A bucket of shard 0 and one of shard 1.
EVEN, ODD = 2, 3


class Commands(CommandListener):
    """Every command that the driver sends. `before` is called with its name and the server's address, and may hurt that server."""

    def __init__(self) -> None:
        self.before: Callable[[str, tuple[str, int]], None] = lambda name, address: None
        self.sent: list[tuple[str, Mapping[str, Any], Any]] = []

    def started(self, event: Any) -> None:
        self.sent.append((event.command_name, event.command, event.connection_id))
        self.before(event.command_name, event.connection_id)

    def succeeded(self, event: Any) -> None: ...
    def failed(self, event: Any) -> None: ...


class Broker:
    """A producer that notes what it takes. `before` is awaited before each batch and may raise; so may `after`."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, int, list[bytes]]] = []
        self.before: Callable[[str, int], Awaitable[None]] | None = None
        self.after: Callable[[str, int], Awaitable[None]] | None = None

    async def send_batch(self, topic: str, partition: int, records: Any) -> None:
        if self.before is not None:
            await self.before(topic, partition)
        self.taken.append((topic, partition, [value for _, value, _ in records]))
        if self.after is not None:
            await self.after(topic, partition)

    def ids(self, topic: str = "push", partition: int | None = None) -> list[str]:
        """Trigger ids of the channel messages in the order in which they were taken."""
        return [
            msgspec.json.decode(value)["trigger_id"]
            for name, place, values in self.taken
            if name == topic and partition in (None, place)
            for value in values
        ]


class Bench:
    """One worker's clients."""

    def __init__(self, settings: Settings, **of_shards: Any) -> None:
        self.settings = settings
        self.commands = Commands()
        self.shards = Shards(settings, event_listeners=[self.commands], **of_shards)
        self.broker = Broker()
        self.ledger = Ledger(self.shards, ROLE, settings.outbox.transaction_timeout_s)
        self.relay = self.relay_of(ROLE)

    async def __aenter__(self) -> "Bench":
        await self.shards.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.shards.close()

    def over(self, link: "Link") -> "Bench":
        """Another worker on the same database, whose connection to shard 0 is this link."""
        return Bench(msgspec.structs.replace(self.settings, shards=(link.uri, *self.settings.shards[1:])))

    async def make_collections(self) -> None:
        """As `shards init` would, without the indexes that no test here is about."""
        for shard in range(len(self.shards)):
            for name in (NOTIFICATIONS, OUTBOX, LEDGER):
                await self.shards.database(shard).create_collection(name)

    async def drop(self) -> None:
        for shard in range(len(self.shards)):
            # A transaction whose connection a test has cut would hold its locks until it grows too old.
            await self.shards.client(shard).admin.command("killAllSessions", [])
            await self.shards.client(shard).drop_database(self.settings.database)

    def store(self, shard: int = 0, timeout_s: float = 5.0) -> FlushStore:
        return FlushStore(self.shards, shard, timeout_s)

    def relay_of(self, role: str, producer: Any = None) -> Relay:
        return Relay(role, self.shards, producer or self.broker, self.settings.outbox.transaction_timeout_s)

    def commit(self, shard: int = 0, store: Any = None, **limits: Any) -> FlushLoop:
        usual = {"publish_timeout_s": 5.0, "transaction_timeout_s": 5.0}

        async def relay_bucket(bucket: int) -> None:
            await self.relay.drain([bucket], exclude=made.flush_ids())

        made = FlushLoop(
            ROLE,
            shard,
            store or self.store(shard),
            self.ledger,
            self.broker,
            OutboxSettings(**(usual | limits)),
            conflict,
            relay_bucket,
        )
        return made

    def outbox(self, flush_store: Callable[..., FlushStore] = FlushStore, **limits: Any) -> Outbox:
        settings = msgspec.structs.replace(self.settings, outbox=OutboxSettings(**limits))
        return Outbox(settings, ROLE, self.shards, self.broker, conflict, flush_store)

    async def open(self, *sources: tuple[str, int], at: int = 0) -> None:
        await self.ledger.open(dict.fromkeys(sources or (SOURCE,), at))

    async def ledgers(self) -> dict[str, dict[str, Any]]:
        return {one["_id"]: one for one in await self.all_of(LEDGER)}

    async def position(self, source: tuple[str, int] = SOURCE) -> int | None:
        return (await self.ledger.positions([source])).get(source)

    async def all_of(self, name: str) -> list[dict[str, Any]]:
        return [
            document
            for shard in range(len(self.shards))
            for document in await self.shards.database(shard)[name].find().sort("_id").to_list()
        ]

    async def trigger_ids(self) -> list[str]:
        return sorted(one["trigger_id"] for one in await self.all_of(NOTIFICATIONS))

    async def rows(self) -> list[dict[str, Any]]:
        return await self.all_of(OUTBOX)

    async def closes(self) -> bool:
        """Whether every ledger adds up, and to as many notifications as there are."""
        ledgers = (await self.ledgers()).values()
        notified = sum(one["notified"] for one in ledgers)
        return all(map(sums_close, ledgers)) and notified == len(await self.all_of(NOTIFICATIONS))


def batch(
    *ids: str | RecordOutcome, start: int = 0, bucket: int = EVEN, acks: AckRecorder | None = None, **but: Any
) -> DecidedBatch:
    """A decided batch of `triggers.payments`: each id a notified trigger with a push message."""
    entries = [an_entry(one, bucket=bucket) if isinstance(one, str) else one for one in ids]
    return a_decided_batch(*entries, start=start, partition=bucket, acks=acks, **but)


def flush_of(*batches: DecidedBatch, role: str = ROLE, flush_id: str | None = None) -> Flush:
    return plan_flush(flush_id or new_flush_id(), role, batches, datetime.now(UTC))


async def end(*tasks: asyncio.Task[Any]) -> None:
    """Cancel until it is done: what runs in them can lose a cancellation."""
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=0.2)


class Between:
    """``async with`` it: a port between a driver and a shard. What passes there is the subclass's affair."""

    def __init__(self, uri: str) -> None:
        host, _, port = urlsplit(uri).netloc.rpartition(":")
        self._to = host, int(port)
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def uri(self) -> str:
        assert self._server is not None
        return f"mongodb://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise NotImplementedError


class Link(Between):
    """A TCP connection to a shard that a test can cut: `cut_after` sees each chunk that the driver sends."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri)
        self._writers: set[asyncio.StreamWriter] = set()
        #: Called with each chunk on its way to the server; True cuts all connections once the server has got it.
        self.cut_after: Callable[[bytes], bool] = lambda _: False
        #: Answers do not come back while this is clear.
        self.answers = asyncio.Event()
        self.answers.set()
        self.cuts = 0

    @property
    def uri(self) -> str:
        return f"{super().uri}/?directConnection=true"

    async def __aexit__(self, *details: object) -> None:
        self.cut()
        await super().__aexit__(*details)

    def cut(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection(*self._to)
        self._writers |= {writer, up_writer}
        to_server = asyncio.create_task(self._pump(reader, up_writer, outward=True))
        to_client = asyncio.create_task(self._pump(up_reader, writer, outward=False))
        self._tasks |= {to_server, to_client}
        with suppress(asyncio.CancelledError):
            await asyncio.wait([to_server, to_client], return_when=asyncio.FIRST_COMPLETED)
        for one in (writer, up_writer):
            with suppress(Exception):
                one.close()
            self._writers.discard(one)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, outward: bool) -> None:
        with suppress(OSError, asyncio.CancelledError):
            while chunk := await reader.read(1 << 16):
                if outward and self.cut_after(chunk):
                    self.cuts += 1
                    self.answers.clear()
                    writer.write(chunk)
                    await writer.drain()
                    await asyncio.sleep(0.05)  # the server must have got it before its connection goes
                    self.cut()
                    self.answers.set()
                    return
                if not outward:
                    await self.answers.wait()
                writer.write(chunk)
                await writer.drain()
