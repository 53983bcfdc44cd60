"""Fixtures of the outbox tests: one worker's clients, a recording broker."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
from pymongo.monitoring import CommandListener

from devtools.fakes.tcp_proxy import FaultProxy
from notify_streams.outbox.decided_batch import DecidedBatch, RecordOutcome
from notify_streams.outbox.flush_loop import FlushLoop
from notify_streams.outbox.flush_plan import Flush, plan_flush
from notify_streams.outbox.ledger import Ledger, sums_close
from notify_streams.outbox.outbox import Outbox
from notify_streams.outbox.relay import Relay
from notify_streams.outbox.transaction import FlushStore
from notify_streams.records.batch import Producer
from notify_streams.records.ids import new_flush_id
from notify_streams.routing.outcome_records import bad_record, id_conflict
from notify_streams.settings import OutboxSettings, Settings
from notify_streams.stores.mongo import LEDGER, NOTIFICATIONS, OUTBOX, OUTCOMES, SEALED_SUMS, Shards
from notify_streams.stores.sealed_sums import OpenPeriods
from tests.builders import AckRecorder, a_decided_batch, an_outcome

ROLE = "standard"
SOURCE = ("triggers.payments", 2)
#: A bucket of shard 0 and one of shard 1.
EVEN, ODD = 2, 3


class Commands(CommandListener):
    """Records every command that the driver sends. `before` is called with its name and the server's address, and may fail the server."""

    def __init__(self) -> None:
        self.before: Callable[[str, tuple[str, int]], None] = lambda name, address: None
        self.sent: list[tuple[str, Mapping[str, Any], Any]] = []

    def started(self, event: Any) -> None:
        self.sent.append((event.command_name, event.command, event.connection_id))
        self.before(event.command_name, event.connection_id)

    def succeeded(self, event: Any) -> None: ...
    def failed(self, event: Any) -> None: ...


class Broker:
    """A producer that records what it sends. `before` and `after` are awaited around each batch and may raise."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, int, list[bytes]]] = []
        self.before: Callable[[str, int], Awaitable[object]] | None = None
        self.after: Callable[[str, int], Awaitable[object]] | None = None

    async def send_batch(self, topic: str, partition: int, records: Any) -> None:
        if self.before is not None:
            await self.before(topic, partition)
        self.sent.append((topic, partition, [value for _, value, _ in records]))
        if self.after is not None:
            await self.after(topic, partition)

    def ids(self, topic: str = "push", partition: int | None = None) -> list[str]:
        """Trigger ids of the channel messages in the order in which they were sent."""
        return [
            msgspec.json.decode(value)["trigger_id"]
            for sent_topic, sent_partition, values in self.sent
            if sent_topic == topic and partition in (None, sent_partition)
            for value in values
        ]


class Bench:
    """One worker's clients, and the parts of an outbox on them."""

    def __init__(self, settings: Settings, **shards_options: Any) -> None:
        self.settings = settings
        self.commands = Commands()
        self.shards = Shards(settings, event_listeners=[self.commands], **shards_options)
        self.broker = Broker()
        self.ledger = self.ledger_of(ROLE)
        self.relay = self.relay_of()

    async def __aenter__(self) -> "Bench":
        await self.shards.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.shards.close()

    def through(self, proxy: FaultProxy) -> "Bench":
        """Another worker on the same database, whose connection to shard 0 goes through `proxy`."""
        return Bench(msgspec.structs.replace(self.settings, shards=(proxy.uri, *self.settings.shards[1:])))

    async def make_collections(self) -> None:
        """As `shards init` does, without indexes."""
        for shard in range(len(self.shards)):
            for name in (NOTIFICATIONS, OUTBOX, LEDGER, SEALED_SUMS, OUTCOMES):
                await self.shards.database(shard).create_collection(name)

    async def drop(self) -> None:
        for shard in range(len(self.shards)):
            # A transaction whose connection was cut would keep its locks until its lifetime ends.
            await self.shards.client(shard).admin.command("killAllSessions", [])
            await self.shards.client(shard).drop_database(self.settings.database)

    def store(self, shard: int = 0, timeout_s: float = 5.0, kind: type[FlushStore] = FlushStore) -> FlushStore:
        return kind(self.shards, shard, timeout_s)

    def ledger_of(self, role: str) -> Ledger:
        return Ledger(self.shards, role, self.settings.outbox.transaction_timeout_s)

    def relay_of(self, role: str = ROLE, producer: Producer | None = None, kind: type[Relay] = Relay) -> Relay:
        return kind(role, self.shards, producer or self.broker, self.settings.outbox.transaction_timeout_s)

    def flush_loop(self, shard: int = 0, store: FlushStore | None = None, **limits: Any) -> FlushLoop:
        settings = OutboxSettings(**({"publish_timeout_s": 5.0, "transaction_timeout_s": 5.0} | limits))

        async def relay_bucket(bucket: int) -> None:
            await self.relay.drain([bucket], exclude=loop.flush_ids())

        loop = FlushLoop(
            ROLE,
            shard,
            store or self.store(shard),
            self.ledger,
            self.broker,
            settings,
            id_conflict,
            bad_record,
            relay_bucket,
            periods=self.periods(shard),
        )
        return loop

    def periods(self, shard: int = 0) -> OpenPeriods:
        return OpenPeriods(self.shards, shard, self.settings.retention, self.settings.outbox.transaction_timeout_s)

    def outbox(self, flush_store: Callable[..., FlushStore] = FlushStore, **limits: Any) -> Outbox:
        settings = msgspec.structs.replace(self.settings, outbox=OutboxSettings(**limits))
        return Outbox(settings, ROLE, self.shards, self.broker, id_conflict, bad_record, flush_store)

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

    async def ledgers_add_up(self) -> bool:
        """Whether every ledger's counts add up, and together count every stored notification."""
        ledgers = (await self.ledgers()).values()
        notified = sum(one["notified"] for one in ledgers)
        return all(map(sums_close, ledgers)) and notified == len(await self.all_of(NOTIFICATIONS))


def batch(
    *ids: str | RecordOutcome, start: int = 0, bucket: int = EVEN, acks: AckRecorder | None = None, **but: Any
) -> DecidedBatch:
    """A decided batch of `triggers.payments`: each id a notified trigger with a push message."""
    entries = [an_outcome(one, bucket=bucket) if isinstance(one, str) else one for one in ids]
    return a_decided_batch(*entries, start=start, partition=bucket, acks=acks, **but)


def flush_of(*batches: DecidedBatch, role: str = ROLE, flush_id: str | None = None) -> Flush:
    return plan_flush(flush_id or new_flush_id(), role, batches, datetime.now(UTC))
