"""Builders and fakes: notifications as the router writes them, batches as the outbox publishes them."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from notify_streams.admin.audit.provider_log import AcceptedMessage, read_provider_log
from notify_streams.delivery.admission import Admission
from notify_streams.delivery.attempt_reader import AttemptReader
from notify_streams.delivery.budget import Budget
from notify_streams.delivery.delivery_ledger import COUNTS, delivery_sums_close, open_deliveries
from notify_streams.delivery.engine import DeliveryEngine
from notify_streams.delivery.event_outbox import EventOutbox
from notify_streams.delivery.provider_order import CalledProvider, ProviderOrder
from notify_streams.delivery.providers import Outgoing, ProviderConfig, ProviderOutcome, ProviderResult, provider_for
from notify_streams.delivery.receipts import ReceiptWriter
from notify_streams.delivery.retry_delay import RETRY_DELAYS
from notify_streams.preferences.choices import in_whole_ms
from notify_streams.preferences.provider_check import SendPermission
from notify_streams.records.channel_message import ChannelMessage
from notify_streams.records.ids import notification_id
from notify_streams.records.notification_event import NotificationEvent, read_event
from notify_streams.records.outcomes import Reason
from notify_streams.roles import Channel
from notify_streams.settings import Settings
from notify_streams.settings_retention import RetentionSettings
from notify_streams.stores.mongo import LEDGER, NOTIFICATIONS, TIMERS, Shards
from notify_streams.stores.shard_clocks import ShardClocks
from tests.builders import ABatch, AckRecorder, ARecord, an_outcome, categories, some_settings, templates

BUCKET = 2


class FakeBatchEvent(AckRecorder):
    """A batch as the agent gets it."""

    def __init__(self, value: ABatch) -> None:
        super().__init__()
        self.value = value
        self.done = asyncio.Event()

    def ack(self) -> None:
        super().ack()
        self.done.set()

    @property
    def reader(self) -> "FakeBatchEvent":
        return self


class RunningEngine:
    """A delivery engine for tests."""

    def __init__(self, engine: DeliveryEngine, provider: Any, dead_addresses: list[tuple[int, str, str, int]]) -> None:
        self.engine = engine
        self.provider = provider
        #: Bucket, user id, address, when it was called (ms).
        self.dead_addresses = dead_addresses

    async def own(self, bucket: int, generation: int = 1) -> int:
        """Own one bucket, as after an assignment; returns where it starts."""
        await self.engine.on_assigned(generation)
        return (await self.engine.acquire([bucket], first_positions))[bucket]

    async def deliver(self, batch: ABatch) -> FakeBatchEvent:
        """Deliver a batch; returns when it is acknowledged."""
        event = await self.begin(batch)
        await asyncio.wait_for(event.done.wait(), 20)
        return event

    async def begin(self, batch: ABatch) -> FakeBatchEvent:
        event = FakeBatchEvent(batch)
        await self.engine.deliver(event)
        return event


class EventTopics:
    """A producer that keeps the events it is given; `gate` holds them back."""

    def __init__(self) -> None:
        self.events: list[tuple[str, NotificationEvent]] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def send_batch(self, topic: str, partition: int, records: Any) -> None:
        await self.gate.wait()
        self.events += [(topic, read_event(value)) for _, value, _ in records]

    def states(self) -> list[tuple[str | None, str, str | None, int]]:
        """Trigger id, state, reason and attempt of each event."""
        return [(one.trigger_id, one.state, one.reason, one.attempt) for _, one in self.events]


def receipt_events(shards: Shards, topics: Any = None, **systems: bool) -> EventOutbox:
    """The events of one worker of the role `receipts`, for `topics`. It publishes nothing unless it runs."""
    settings = some_settings(outbox={"sweep_every_s": 0.2}, notification_events=systems)
    return EventOutbox("receipts", settings, shards, topics or EventTopics())


def receipt_writer(
    shards: Shards,
    events: EventOutbox | None = None,
    timeout_s: float = 5.0,
    event_systems: Collection[str] = frozenset(("payments",)),
    on_mail: Callable[[str, str | None], None] = lambda category, reason: None,
    on_failed: Callable[[Sequence[Any]], Awaitable[None]] | None = None,
) -> ReceiptWriter:
    """A writer whose events go to `events`; by default none are published."""

    async def nothing(failed: object) -> None:
        return

    return ReceiptWriter(
        shards,
        timeout_s,
        event_systems,
        events or receipt_events(shards),
        on_mail,
        on_failed or nothing,
    )


@asynccontextmanager
async def running_engine(
    shards: Shards,
    provider: Any,
    check: Any = None,
    channel: Channel = "push",
    *,
    pace: float = 0.002,
    call_timeout_s: float | Mapping[str, float] = 5.0,
    failover: Sequence[Any] = (),
    topics: "EventTopics | None" = None,
    clocks: ShardClocks | None = None,
    retention: RetentionSettings | None = None,
) -> AsyncIterator[RunningEngine]:
    """An engine with short delays between attempts, that owns nothing yet.

    `failover`: the providers after `provider`. `call_timeout_s`: of each call, or by provider. Its events go to `topics`.
    """
    topics = topics or EventTopics()
    order = ProviderOrder([CalledProvider(one, Budget(None, 0.0)) for one in (provider, *failover)])
    dead_addresses: list[tuple[int, str, str, int]] = []
    engine = DeliveryEngine(
        channel,
        channel,
        "standard",
        shards,
        check or Check(),
        order,
        categories(),
        templates(),
        Admission(order),
        RETRY_DELAYS["standard", channel].paced(pace),
        5.0,
        call_timeout_s.__getitem__ if isinstance(call_timeout_s, Mapping) else lambda provider: call_timeout_s,
        lambda bucket, message, address, called_ms: dead_addresses.append(
            (bucket, message.user_id, address, called_ms)
        ),
        EventOutbox(channel, some_settings(outbox={"sweep_every_s": 0.2}), shards, topics),
        clocks=clocks,
        retention=retention,
    )
    await engine.start()
    try:
        yield RunningEngine(engine, provider, dead_addresses)
    finally:
        await engine.stop()


async def first_positions(partitions: Collection[int], at: int = 0) -> dict[int, int]:
    """Where partitions without a ledger start."""
    return dict.fromkeys(partitions, at)


class DeliveryEnvironment:
    """A database with notifications, and the engines that deliver them."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.shards = Shards(settings)
        self.reader = AttemptReader(self.shards, 5.0)
        self._offset = 0
        self._source = 0

    async def __aenter__(self) -> "DeliveryEnvironment":
        await self.shards.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.shards.close()

    async def drop(self) -> None:
        for shard in range(len(self.shards)):
            await self.shards.client(shard).drop_database(self.settings.database)

    async def notify(self, *ids: str, channel: Channel = "push", **but: Any) -> ABatch:
        """Write a notification for each trigger id, and return the batch with their messages."""
        but = {"now": in_whole_ms(datetime.now(UTC))} | but
        entries = [
            an_outcome(one, bucket=BUCKET, channels=(channel,), offset=self._source + place, **but)
            for place, one in enumerate(ids)
        ]
        self._source += len(ids)
        await self.shards.collection(NOTIFICATIONS, BUCKET).insert_many(
            [entry.document for entry in entries if entry.document is not None]
        )
        return self.batch(*[output[3] for entry in entries for output in entry.outputs], topic=channel)

    def batch(self, *values: bytes | None, topic: str = "push") -> ABatch:
        """The next batch of the topic."""
        start = self._offset
        self._offset += len(values)
        records = [ARecord(value, b"u-42", (), offset) for offset, value in enumerate(values, start)]
        return ABatch(records, topic=topic, partition=BUCKET, start=start, end=self._offset)

    def forget(self, batch: ABatch) -> None:
        """The batch was not written to the topic: the next one has its offsets."""
        self._offset = batch.start

    @asynccontextmanager
    async def engine(
        self,
        provider: Any,
        check: Any = None,
        channel: Channel = "push",
        *,
        generation: int = 1,
        owns: bool = True,
        **but: Any,
    ) -> AsyncIterator[RunningEngine]:
        """A running engine that owns `BUCKET`."""
        async with running_engine(self.shards, provider, check, channel, **but) as engine:
            if owns:
                await engine.own(BUCKET, generation)
            yield engine

    async def send(self, *ids: str) -> None:
        """Notify and deliver."""
        async with self.engine(Provider()) as engine:
            await engine.deliver(await self.notify(*ids))

    async def state(self, trigger_id: str = "t", channel: Channel = "push") -> dict[str, Any]:
        """The delivery, without the time."""
        query = {"_id": notification_id(trigger_id, "u-42", "payments"), "bucket": BUCKET}
        document = await self.shards.collection(NOTIFICATIONS, BUCKET).find_one(query)
        assert document is not None
        await self.reader.add_status([document])
        found = document["deliveries"][channel]
        return {name: value for name, value in found.items() if name != "at"}

    async def history(self, trigger_id: str = "t", channel: Channel = "push") -> list[dict[str, Any]]:
        """The attempts of the delivery."""
        notification = notification_id(trigger_id, "u-42", "payments")
        document = await self.shards.collection(NOTIFICATIONS, BUCKET).find_one({"_id": notification, "bucket": BUCKET})
        assert document is not None
        return await self.reader.history(BUCKET, notification, channel, document["decided_at"])

    async def is_in(self, state: str, trigger_id: str = "t", channel: Channel = "push") -> bool:
        return bool((await self.state(trigger_id, channel))["state"] == state)

    async def ledger(self, role: str = "push") -> dict[str, Any]:
        found = await self.shards.collection(LEDGER, BUCKET).find_one({"_id": f"{role}:{role}:{BUCKET}"})
        assert found is not None
        return found

    async def counts(self) -> dict[str, int]:
        """The counts of the ledger that are not 0."""
        found = await self.ledger()
        return {name: found[name] for name in COUNTS if found[name]}

    async def is_at(self, offset: int) -> bool:
        return bool((await self.ledger())["next_offset"] == offset)

    async def timers(self) -> list[dict[str, Any]]:
        return await self.shards.collection(TIMERS, BUCKET).find({}).to_list()

    async def no_timers(self) -> bool:
        return not await self.timers()

    async def books_close(self, role: str = "push") -> bool:
        """Whether the ledger adds up and has a timer for each open delivery."""
        ledger = await self.ledger(role)
        return delivery_sums_close(ledger) and open_deliveries(ledger) == len(await self.timers())


@dataclass
class Check:
    """A fake check: allows everything for `good_s` except the trigger ids in `refused`."""

    refused: dict[str, Reason] = field(default_factory=dict)
    good_s: float = 60.0
    checked: list[list[str]] = field(default_factory=list)
    before: Callable[[], Any] | None = None
    #: Trigger ids whose address cannot be checked.
    unchecked: set[str] = field(default_factory=set)

    async def still_allowed(self, bucket: int, messages: Sequence[ChannelMessage], now: datetime) -> SendPermission:
        self.checked.append([message.trigger_id for message in messages])
        if self.before is not None:
            await self.before()
        at = time.monotonic()
        reasons = [
            Reason.EXPIRED if message.expires_at and message.expires_at <= now else self.refused.get(message.trigger_id)
            for message in messages
        ]
        places = {place for place, message in enumerate(messages) if message.trigger_id in self.unchecked}
        return SendPermission(reasons, at, at + self.good_s, frozenset(places))


class Provider:
    """A fake client: each call for a trigger returns or raises its next result, then ACCEPTED."""

    name = "fake"

    def __init__(self, max_in_flight: int = 100, **results: Sequence[ProviderResult | Exception]) -> None:
        self.max_in_flight = max_in_flight
        self.results = {trigger_id: list(given) for trigger_id, given in results.items()}
        self.calls: list[Outgoing] = []
        self.called_at: list[float] = []
        self.before: Callable[[Outgoing], Any] | None = None
        self.closed = False

    async def start(self) -> None:
        self.closed = False

    async def close(self) -> None:
        self.closed = True

    async def send(self, message: Outgoing) -> ProviderResult:
        self.calls.append(message)
        self.called_at.append(time.monotonic())
        if self.before is not None:
            await self.before(message)
        result = (self.results.get(message.notification_id.rpartition("-")[0]) or [ACCEPTED]).pop(0)
        if isinstance(result, Exception):
            raise result
        return result

    def ids(self) -> list[str]:
        return [call.notification_id.rpartition("-")[0] for call in self.calls]


ACCEPTED = ProviderResult(outcome=ProviderOutcome.ACCEPTED, provider="fake", provider_id="p-1")
REJECTED = ProviderResult(outcome=ProviderOutcome.REJECTED, provider="fake", code="400")
DEAD = ProviderResult(outcome=ProviderOutcome.DEAD_TOKEN, provider="fake", code="UNREGISTERED")
RETRY = ProviderResult(outcome=ProviderOutcome.RETRY, provider="fake")
UNSURE = ProviderResult(outcome=ProviderOutcome.RETRY, provider="fake", maybe_accepted=True)
NOT_BEGUN = ProviderResult(outcome=ProviderOutcome.RETRY, provider="fake", begun=False)


class Sandbox:
    """The stack's provider sandbox."""

    def __init__(self, addresses: dict[str, str], session: aiohttp.ClientSession) -> None:
        self._addresses, self._session = addresses, session

    def config(self, **but: Any) -> ProviderConfig:
        fcm, twilio, smtp = (self._addresses[name] for name in ("fcm", "twilio", "smtp"))
        return ProviderConfig(fcm=fcm, twilio=twilio, smtp=smtp, **but)

    async def control(self, **faults: Any) -> None:
        async with self._session.post(f"{self._addresses['fcm']}/control", data=orjson.dumps(faults)) as response:
            assert response.status == 200, await response.text()

    async def clear_faults(self) -> None:
        async with self._session.delete(f"{self._addresses['fcm']}/control") as response:
            assert response.status == 200

    def accepted(self, prefix: str) -> list[AcceptedMessage]:
        """The accepted messages of triggers whose ids begin with `prefix`."""
        return [
            one for one in read_provider_log(Path(self._addresses["record"])) if one.notification_id.startswith(prefix)
        ]

    def client(self, channel: str, **but: Any) -> Any:
        return provider_for(channel, self.config(**but))
