"""The race through the delivery engine, while its provider is held up.

Each seed is a person who gets several messages and stops them at a random moment, in one of the ways of `beginnings`. The engines, the
checks, the writes and the stores are the real ones; the provider notes when each call begins, and what it does depends on the condition.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import TYPE_CHECKING, Any, Final

import msgspec

from devtools.race.beginnings import STOPPED, Beginning, RacePerson, opened_beginnings, public_settings
from devtools.race.invariants import Call, Observations, ObservedChoice, Suppression
from devtools.race.runner import RaceResult, process_preferences, shortened
from devtools.race.steps import Table
from notify_streams.delivery.admission import Admission
from notify_streams.delivery.budget import Budget
from notify_streams.delivery.engine import DeliveryEngine
from notify_streams.delivery.event_outbox import EventOutbox
from notify_streams.delivery.provider_order import CalledProvider, ProviderOrder
from notify_streams.delivery.providers import ProviderOutcome, ProviderResult
from notify_streams.delivery.retry_delay import RETRY_DELAYS
from notify_streams.preferences.categories import channels_of_templates
from notify_streams.records.channel_message import ChannelMessage
from notify_streams.roles import CHANNELS
from notify_streams.stores.mongo import LEDGER, TIMERS, Shards
from notify_streams.templates.catalog import configured_templates

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Sequence

    from notify_streams.delivery.engine import SendCheck
    from notify_streams.delivery.providers import Outgoing
    from notify_streams.preferences.categories import Categories
    from notify_streams.preferences.service import PreferenceService
    from notify_streams.records.batch import KeyedRecord
    from notify_streams.roles import Channel
    from notify_streams.settings import Settings
    from notify_streams.templates.catalog import Templates


@dataclass(frozen=True, slots=True)
class Condition:
    """What holds the calls up."""

    #: The budget of a channel's provider; None: no limit.
    calls_per_s: float | None = None
    #: The provider fails so long, works so long, and so on.
    fails_s: float = 0.0
    #: Messages of each person.
    messages: int = 6
    max_in_flight: int = 32


CONDITIONS: Final[dict[str, Condition]] = {
    "free": Condition(),
    "budget": Condition(calls_per_s=60.0),
    "breaker": Condition(fails_s=2.5),
    "queue": Condition(messages=25, max_in_flight=2),
    "all": Condition(calls_per_s=60.0, fails_s=2.5, messages=15, max_in_flight=4),
}

_CONCURRENT: Final = 60
#: A person's stop comes within this time, and the messages within the longer one, so that many come later than the bound after the stop.
_STOP_S: Final = 2.0
_MESSAGES_S: Final = 3.5
_MAX_BATCH: Final = 200
#: A small part of the real delays between attempts: a fault lasts seconds.
_PACE: Final = 0.002
_DRAIN_S: Final = 300.0
#: Longer than any queue of a race.
_TTL: Final = timedelta(minutes=30)
_STORE_S: Final = 5.0


class RecordingProvider:
    """A provider that notes the beginning of each call."""

    max_in_flight: int

    def __init__(self, name: str, condition: Condition) -> None:
        self.name = name
        self.max_in_flight = condition.max_in_flight
        self._fails_s = condition.fails_s
        self._started = time.monotonic()
        #: Delivery id, and when the call began (monotonic).
        self.calls: list[tuple[str, float]] = []
        self.accepted: set[str] = set()

    async def start(self) -> None:
        self._started = time.monotonic()

    async def close(self) -> None:
        return

    async def send(self, message: Outgoing) -> ProviderResult:
        began = time.monotonic()
        self.calls.append((message.delivery_id, began))
        await asyncio.sleep(0.02)
        if self._fails_s and (began - self._started) // self._fails_s % 2 == 0:
            return ProviderResult(outcome=ProviderOutcome.RETRY, provider=self.name, detail="HTTP 503")
        self.accepted.add(message.delivery_id)
        return ProviderResult(outcome=ProviderOutcome.ACCEPTED, provider=self.name, provider_id="p")


@dataclass(frozen=True, slots=True)
class _Record:
    value: bytes
    offset: int
    key: bytes | None = None
    headers: tuple[()] = ()
    timestamp: int = 0


@dataclass(slots=True)
class _Event:
    """A batch of one partition, and its handle: the partition is never taken away."""

    topic: str
    partition: int
    start: int
    end: int
    records: Sequence[_Record]
    lost: int = 0

    @property
    def value(self) -> _Event:
        return self

    def ack(self) -> None:
        return

    @property
    def reader(self) -> _Event:
        return self

    def refuse(self, position: int) -> None:
        raise RuntimeError(f"partition {self.partition} was refused at {position}")

    def current(self) -> bool:
        return True


@dataclass(slots=True)
class _Queue:
    """The messages of one partition that the engine has not taken."""

    waiting: list[bytes] = field(default_factory=list)
    next_offset: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)


class Lane:
    """The engine of one channel, and the partitions that it reads."""

    def __init__(self, channel: Channel, engine: DeliveryEngine, provider: RecordingProvider) -> None:
        self.channel = channel
        self.engine = engine
        self.provider = provider
        self._queues: defaultdict[int, _Queue] = defaultdict(_Queue)

    def add(self, bucket: int, message: ChannelMessage) -> None:
        queue = self._queues[bucket]
        source_offset = queue.next_offset + len(queue.waiting)
        message = msgspec.structs.replace(message, source_topic="race", source_offset=source_offset)
        queue.waiting.append(msgspec.json.encode(message))
        queue.changed.set()

    async def read(self, bucket: int) -> None:
        """Give the engine one batch after the other, until cancelled."""
        queue = self._queues[bucket]
        while True:
            await queue.changed.wait()
            values, queue.waiting = queue.waiting[:_MAX_BATCH], queue.waiting[_MAX_BATCH:]
            if not queue.waiting:
                queue.changed.clear()
            start, queue.next_offset = queue.next_offset, queue.next_offset + len(values)
            records = [_Record(value, offset) for offset, value in enumerate(values, start)]
            await self.engine.deliver(_Event(self.channel, bucket, start, queue.next_offset, records))

    async def drained(self, shards: Shards) -> None:
        """Wait until each message has a final state.

        Raises:
            TimeoutError: some have none.
        """
        queues = {f"{self.channel}:{self.channel}:{bucket}": queue for bucket, queue in self._queues.items()}
        async with asyncio.timeout(_DRAIN_S):
            while True:
                if self.engine.failed is not None:
                    raise self.engine.failed
                ends = {ledger: queue.next_offset for ledger, queue in queues.items()}
                at: dict[str, int] = {}
                timers = 0
                for shard in range(len(shards)):
                    database = shards.database(shard)
                    at |= {
                        one["_id"]: one["next_offset"]
                        async for one in database[LEDGER].find({"_id": {"$in": list(ends)}})
                    }
                    timers += await database[TIMERS].count_documents({"role": self.channel})
                if at == ends and not timers and not any(queue.waiting for queue in queues.values()):
                    return
                await asyncio.sleep(0.2)


async def run_engine_race(
    settings: Settings,
    categories: Categories,
    seeds: Sequence[int],
    condition: Condition,
    *,
    prefix: str,
    beginnings: Sequence[Beginning] = tuple(STOPPED),
    check_of: Callable[[PreferenceService], SendCheck] = lambda worker: worker.provider_check,
) -> RaceResult:
    """Run `seeds` on the stores of `settings` and check that no call began too late. The database is dropped afterwards.

    Args:
        check_of: the check before a call; tests replace it, to see that the race then finds a violation.
    """
    public = public_settings(settings.region)
    settings = msgspec.structs.replace(settings, preferences=shortened(settings.preferences), public=public)
    result = RaceResult()
    try:
        async with AsyncExitStack() as closing:
            worker, writer = [
                await closing.enter_async_context(process_preferences(settings, categories, Table(0.0), prefix))
                for _ in range(2)
            ]
            begin = await closing.enter_async_context(opened_beginnings(settings, writer))
            shards = await closing.enter_async_context(Shards(settings))
            templates = configured_templates(channels_of_templates(categories))
            lanes = {
                channel: await closing.enter_async_context(
                    _lane(channel, settings, shards, check_of(worker), categories, templates, condition)
                )
                for channel in CHANNELS
            }
            limit = asyncio.Semaphore(_CONCURRENT)
            people: list[tuple[RacePerson, Observations]] = []

            async def run_one(seed: int) -> None:
                async with limit:
                    random = Random(seed)
                    person = RacePerson(seed, random.choice(beginnings), settings.partitions)
                    observations = Observations(seed)
                    people.append((person, observations))
                    await asyncio.gather(
                        _send(person, lanes[person.channel], condition.messages, random),
                        _stop(person, begin.stop, observations, random.uniform(0.1, _STOP_S)),
                    )

            async with asyncio.TaskGroup() as group:
                for seed in seeds:
                    group.create_task(run_one(seed))
            await asyncio.gather(*(lane.drained(shards) for lane in lanes.values()))
            _add_calls(people, lanes, condition)
            for _, observations in people:
                result.add(observations, settings.preferences.bound_s)
    finally:
        async with Shards(settings) as shards:
            for shard in range(len(shards)):
                await shards.client(shard).drop_database(settings.database)
    return result


async def _send(person: RacePerson, lane: Lane, count: int, random: Random) -> None:
    """Put the person's messages into the topic at random moments. All were decided before the stop: the router would suppress later ones."""
    started, decided_at = time.monotonic(), datetime.now(UTC)
    for number, at_s in enumerate(sorted(random.uniform(0, _MESSAGES_S) for _ in range(count))):
        await asyncio.sleep(started + at_s - time.monotonic())
        message = ChannelMessage(
            _delivery_id(person, number),
            person.channel,
            person.to,
            f"{person.user_id}-{number}",
            f"{person.user_id}-{number}",
            person.user_id,
            person.category,
            decided_at,
            title="t",
            body="b",
            expires_at=decided_at + _TTL,
        )
        lane.add(person.bucket, message)


async def _stop(person: RacePerson, stop: Any, observations: Observations, after_s: float) -> None:
    await asyncio.sleep(after_s)
    choice = ObservedChoice(False, person.beginning, time.monotonic())
    observations.choices.append(choice)
    if await stop(person):
        choice.acknowledged_at = time.monotonic()


def _add_calls(
    people: Sequence[tuple[RacePerson, Observations]], lanes: dict[Channel, Lane], condition: Condition
) -> None:
    """What the providers have noted, by person. A message without an accepted call was suppressed: it cannot expire."""
    by_delivery: defaultdict[str, list[float]] = defaultdict(list)
    for lane in lanes.values():
        for delivery, began in lane.provider.calls:
            by_delivery[delivery].append(began)
    for person, observations in people:
        accepted = lanes[person.channel].provider.accepted
        for number in range(condition.messages):
            delivery = _delivery_id(person, number)
            observations.calls += [Call(float("-inf"), began, "provider") for began in by_delivery[delivery]]
            if delivery not in accepted:
                observations.suppressions.append(Suppression(float("-inf"), float("-inf"), "provider"))


def _delivery_id(person: RacePerson, number: int) -> str:
    return f"{person.user_id}-{number}.{person.channel}"


class IgnoredTopics:
    """A producer for events that are not read."""

    async def send_batch(self, topic: str, partition: int, records: Sequence[KeyedRecord]) -> None: ...


@asynccontextmanager
async def _lane(
    channel: Channel,
    settings: Settings,
    shards: Shards,
    check: SendCheck,
    categories: Categories,
    templates: Templates,
    condition: Condition,
) -> AsyncIterator[Lane]:
    """A running engine that owns all partitions, and the tasks that read them."""
    provider, budget = RecordingProvider(f"fake {channel}", condition), Budget(condition.calls_per_s, 0.0)
    budget.set_share(1.0, time.monotonic())
    order = ProviderOrder([CalledProvider(provider, budget)])
    engine = DeliveryEngine(
        channel,
        channel,
        "standard",
        shards,
        check,
        order,
        categories,
        templates,
        Admission(order),
        RETRY_DELAYS["standard", channel].paced(_PACE),
        _STORE_S,
        lambda provider: _STORE_S,
        lambda bucket, message, address, called_ms: None,
        EventOutbox(channel, settings, shards, IgnoredTopics()),
    )
    lane = Lane(channel, engine, provider)
    await engine.start()
    buckets = range(settings.partitions)
    await engine.on_assigned(1)
    await engine.acquire(buckets, _first)
    reading = [asyncio.create_task(lane.read(bucket)) for bucket in buckets]
    try:
        yield lane
    finally:
        for task in reading:
            task.cancel()
        await asyncio.gather(*reading, return_exceptions=True)
        await engine.stop()


async def _first(partitions: Collection[int]) -> dict[int, int]:
    return dict.fromkeys(partitions, 0)
