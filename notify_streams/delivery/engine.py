"""Delivers channel messages: admit, check, call, settle, acknowledge.

A message is acknowledged when its first attempt is durable. What was not accepted waits in a timer for its next attempt, until it expires.
After a crash the next owner of a partition looks up the offsets for which calls may have begun, and marks calls without a stored outcome as
possible duplicates. `docs/architecture/delivery.md` has the rules.
"""

from __future__ import annotations

import asyncio
import logging
import random
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

from notify_streams import tasks
from notify_streams.delivery.attempt_reader import AttemptReader
from notify_streams.delivery.calls import ProviderCalls
from notify_streams.delivery.collapse_keys import CollapseKeys
from notify_streams.delivery.delivery_ledger import DeliveryLedger
from notify_streams.delivery.due_timers import DueTimers
from notify_streams.delivery.late_answers import LateAnswers
from notify_streams.delivery.message_reader import MessageReader
from notify_streams.delivery.outcome_settling import OutcomeSettling
from notify_streams.delivery.ownership import Ownership
from notify_streams.delivery.partition import Delivery, Entry, Partition, PartitionReader
from notify_streams.delivery.pauses import ProviderPauses
from notify_streams.delivery.providers import ProviderResult
from notify_streams.delivery.retry_timers import RetryTimers
from notify_streams.delivery.settle_loop import MAX_UNSETTLED, MAX_UNSETTLED_S, SettleLoop
from notify_streams.delivery.settlement import SettlementStore
from notify_streams.delivery.timers import TimerReader
from notify_streams.errors import RetryLater
from notify_streams.records.batch import AckHandle
from notify_streams.records.channel_message import ChannelMessage
from notify_streams.records.outcomes import DeliveryState
from notify_streams.retry import STORE
from notify_streams.settings_retention import RetentionSettings
from notify_streams.stores.sealed_sums import OpenPeriods
from notify_streams.stores.shard_clocks import ShardClocks

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from datetime import datetime

    from notify_streams.delivery.admission import Admission
    from notify_streams.delivery.delivery_spans import DeliverySpans
    from notify_streams.delivery.event_outbox import EventOutbox
    from notify_streams.delivery.mail_links import MailLinks
    from notify_streams.delivery.provider_order import ProviderOrder
    from notify_streams.delivery.provider_state import ProviderState
    from notify_streams.delivery.retry_delay import RetryDelay
    from notify_streams.preferences.categories import Categories
    from notify_streams.preferences.provider_check import SendPermission
    from notify_streams.records.batch import Batch
    from notify_streams.roles import Channel, Lane
    from notify_streams.stores.mongo import Shards
    from notify_streams.templates.catalog import Templates

log = logging.getLogger(__name__)

_EXPIRE_EVERY_S: Final = 900.0
_EXPIRE_CLOCK_AGE_S: Final = 30.0
#: How often it is looked whether a silent shard answers again.
_SILENT_LOOK_S: Final = 0.5
#: A shard whose flush is under way for longer takes no writes.
_STALLED_S: Final = 1.0
_STOP_S: Final = 0.5

#: A flush costs much more than a result. Twice this time may pass before a message is called for which no offset was claimed ahead.
_FLUSH_INTERVAL_S: Final[dict[Lane, float]] = {"critical": 0.005, "standard": 0.05}

_CHECK: Final = STORE.named("delivery.check")


class SendCheck(Protocol):
    """The check before the provider call (`preferences.provider_check.ProviderCheck`)."""

    async def still_allowed(self, bucket: int, messages: Sequence[ChannelMessage], now: datetime) -> SendPermission: ...


class BatchHandle(AckHandle, Protocol):
    """One batch of a partition, and how to acknowledge it (`transport.BatchEvent`)."""

    @property
    def value(self) -> Batch: ...

    @property
    def reader(self) -> PartitionReader: ...


class DeliveryEngine:
    """Delivers the messages of one channel topic."""

    def __init__(
        self,
        role: str,
        channel: Channel,
        lane: Lane,
        shards: Shards,
        check: SendCheck,
        order: ProviderOrder,
        categories: Categories,
        templates: Templates,
        admission: Admission,
        retry_delay: RetryDelay,
        store_timeout_s: float,
        call_timeout_s: Callable[[str], float],
        on_dead_address: Callable[[int, ChannelMessage, str, int], None],
        events: EventOutbox,
        on_end: Callable[[str, DeliveryState, str | None], None] | None = None,
        region: str | None = None,
        on_refused_address: Callable[[ChannelMessage, ProviderResult], None] = lambda message, result: None,
        mail_links: MailLinks | None = None,
        clocks: ShardClocks | None = None,
        retention: RetentionSettings | None = None,
        spans: DeliverySpans | None = None,
    ) -> None:
        """Deliver `role`.

        Args:
            call_timeout_s: by the provider's name; so long a call to it may take.
            spans: None while tracing is off.
            on_end: called with category, state and reason of each delivery whose end is durable.
            region: a mark of each call, by which receipts find the way; None: no mark.
        """
        self._shards = shards
        self._check = check
        self._events = events
        self._admission = admission
        self._retention = retention = retention or RetentionSettings()
        ledger = DeliveryLedger(shards, role, store_timeout_s)
        self._attempts = AttemptReader(shards, store_timeout_s)
        self._messages = MessageReader(role, channel, self._attempts, spans)
        timers = TimerReader(shards, role, store_timeout_s)
        self._clocks = clocks or shards.clocks
        #: Deliveries whose timer this worker has claimed, until their attempt is settled.
        self._retrying: set[bytes] = set()
        self._due_timers = DueTimers(timers, self._clocks, self._retrying)
        self._calls = ProviderCalls(
            lane,
            channel,
            order,
            categories,
            templates,
            admission,
            ProviderPauses(shards, store_timeout_s),
            self,
            region,
            mail_links,
        )
        self._stores = [SettlementStore(shards, shard, ledger, store_timeout_s) for shard in range(len(shards))]
        self._ownership = Ownership(role, shards, ledger, self._clocks, self._stores[0], events, self)
        self._loops = [
            SettleLoop(
                role,
                channel,
                store,
                events,
                LateAnswers(channel, self._store_of, events, on_end),
                self._ownership.on_refused,
                partial(self._on_settled, shard),
                on_end,
                self._retrying,
                _FLUSH_INTERVAL_S[lane],
                OpenPeriods(shards, shard, retention, store_timeout_s),
                spans,
            )
            for shard, store in enumerate(self._stores)
        ]
        self._retry_timers = RetryTimers(
            timers, self._clocks, admission, self._loops, self.check_again, self._retrying, spans
        )
        self._collapse_keys = CollapseKeys()
        self._outcomes = OutcomeSettling(
            self._loops,
            order,
            admission,
            self._clocks,
            retry_delay,
            self._collapse_keys,
            call_timeout_s,
            self._calls.stays,
            on_dead_address,
            on_refused_address,
        )
        self._settled = asyncio.Event()
        #: Deliveries that are checked again before their calls.
        self._checks: set[asyncio.Task[None]] = set()
        self._tasks: list[asyncio.Task[None]] = []
        #: The error that ended a loop, or the handling of a call: the worker must be restarted.
        self.failed: BaseException | None = None

    # -- Lifecycle

    async def start(self) -> None:
        await self._calls.start()
        runs: list[Callable[[], Any]] = [
            *(loop.run for loop in self._loops),
            partial(self._retry_timers.run, self._with_timers),
            partial(self._due_timers.run, self._ownership.by_shard),
            self._calls.watch,
            self._calls.watch_pauses,
            self._expire,
            self._events.run,
            self._lend_places,
        ]
        self._tasks = [asyncio.create_task(self._guarded(run)) for run in runs]

    async def stop(self) -> None:
        """Settle the calls that end soon, then close. The next owner marks the others as possible duplicates."""
        self._calls.stopping = True
        self._ownership.close()
        await self._ownership.drain(_STOP_S)
        await self._calls.close()
        await self._ownership.store_ends(_STOP_S)
        await self._calls.stop()
        await tasks.stop((*self._checks, *self._tasks))
        await self._ownership.stop()

    @property
    def held(self) -> bool:
        """Whether partitions wait for the provider, so that a restart would cure nothing."""
        return self._admission.held

    def counted_to(self, partition: int) -> int | None:
        """Below this position every message of an owned partition has an outcome; moves within a batch."""
        owned = self._ownership.partitions.get(partition)
        return None if owned is None else owned.next_offset

    def provider_state(self) -> ProviderState:
        """The present state, without I/O."""
        return self._calls.provider_state()

    async def _guarded(self, run: Callable[[], Any]) -> None:
        try:
            await run()
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            log.exception("delivery loop failed, the worker must be restarted", extra={"action": "delivery.crash"})
            self.failed = error
            raise

    # -- Assignment

    async def on_assigned(self, generation: int) -> None:
        """Partitions are assigned: begin nothing of the earlier ones any more, and `acquire` those.

        Args:
            generation: of the consumer group; the ledger refuses a lower one.
        """
        await self._ownership.on_assigned(generation)

    async def acquire(
        self, partitions: Collection[int], first_positions: Callable[[Collection[int]], Any]
    ) -> dict[int, int]:
        """Become the owner of some of the assigned partitions.

        Args:
            first_positions: awaited for partitions without a ledger; partition → first offset.

        Returns:
            The position at which each partition starts.

        Raises:
            RetryLater: a shard does not answer, or a worker of a later generation owns a partition.
        """
        return await self._ownership.acquire(partitions, first_positions)

    def release_all(self) -> None:
        """Begin no call any more. Calls under way are settled as long as no other worker has taken over."""
        self._ownership.release_all()

    # -- For `Ownership`

    def under_way(self, partition: Partition | None = None) -> list[asyncio.Task[None]]:
        return self._calls.under_way(partition)

    async def settled(self, shard: int | None = None) -> None:
        loops = self._loops if shard is None else [self._loops[shard]]
        await asyncio.gather(*(loop.settled() for loop in loops))

    def leave_waiting(self) -> None:
        self._calls.leave_waiting()
        self._settled.set()

    def give_back(self, partition: Partition) -> None:
        self._loops[partition.shard].add_counted(partition)

    def owned_anew(self) -> None:
        self._retry_timers.look_now()

    # -- From the topic to a call

    async def deliver(self, event: BatchHandle) -> None:
        """Begin the batch's deliveries. It is acknowledged when each has a durable outcome."""
        batch = event.value
        partition = self._ownership.partitions.get(batch.partition)
        if partition is None or not event.current():
            return
        partition.reader = event.reader
        if batch.start == batch.end or not partition.active:
            return
        if batch.start != partition.read_to:
            event.refuse(partition.read_to)
            return
        try:
            await self._deliver(partition, batch, event)
        except Exception:
            # The batch comes again. Read it as after an assignment: some of its records may be counted.
            self._ownership.disown(partition)
            raise

    async def _deliver(self, partition: Partition, batch: Batch, event: BatchHandle) -> None:
        entries = [Entry(record.offset) for record in batch.records]
        partition.add(batch.end, batch.lost, entries, event)
        if not entries:
            self._loops[partition.shard].add_counted(partition)
        begun = 0
        while begun < len(entries) and partition.active:
            await self._until_settled(partition)
            if partition.shard in self._not_answering():
                await asyncio.sleep(_SILENT_LOOK_S)
                continue
            count = await self._admission.take(len(entries) - begun, partition.shard)
            part = slice(begun, begun + count)
            begun += count
            try:
                deliveries = await self._messages.read(partition, batch.records[part], entries[part])
            except BaseException:
                self._admission.release(count, shard=partition.shard)
                raise
            if len(deliveries) < count:
                self._admission.release(count - len(deliveries), shard=partition.shard)
                self._loops[partition.shard].add_counted(partition)
            await self._begin(partition, deliveries)

    async def _lend_places(self) -> None:
        """While a shard does not answer, give the places of its deliveries to others."""
        while True:
            await asyncio.sleep(_SILENT_LOOK_S)
            silent = self._not_answering()
            for shard in range(len(self._shards)):
                if shard in silent:
                    self._admission.lend(shard)
                else:
                    self._admission.take_back(shard)

    def _not_answering(self) -> set[int]:
        """The shards that cannot be read, or take no writes: a flush of claims and results has begun long ago."""
        stalled = (shard for shard, loop in enumerate(self._loops) if loop.flushing_s() > _STALLED_S)
        return {*self._shards.silent(), *stalled}

    async def _until_settled(self, partition: Partition) -> None:
        """Wait while too much of the partition, or on its shard, is not settled: a crash would repeat it."""
        while partition.shard in self.shards_behind() or (partition.blocked and partition.active):
            self._settled.clear()
            await self._settled.wait()

    def shards_behind(self) -> list[int]:
        return [
            shard
            for shard, (count, age_s) in enumerate(map(SettleLoop.unsettled, self._loops))
            if count > MAX_UNSETTLED or age_s > MAX_UNSETTLED_S
        ]

    def _on_settled(self, shard: int, due_ms: int | None) -> None:
        self._settled.set()
        self._calls.pump()
        if due_ms is not None:
            self._retry_timers.armed(shard, due_ms)

    async def _begin(self, partition: Partition, deliveries: Sequence[Delivery]) -> None:
        """Claim, check and call these admitted deliveries of one partition."""
        if not deliveries:
            return
        permission = None
        try:
            permission = await self._permitted(partition, deliveries)
        finally:
            if permission is None:
                for delivery in deliveries:
                    self.leave(delivery)
        if permission is None:
            return
        allowed = []
        paused = self._calls.paused_categories.names
        for place, (delivery, reason) in enumerate(zip(deliveries, permission.reasons, strict=True)):
            reason = reason or self._collapse_keys.superseded(delivery)
            if reason is None and delivery.message.category in paused:
                self._outcomes.category_paused(delivery)
            elif reason is None and place in permission.unchecked:
                self._outcomes.not_checked(delivery)
            elif reason is None:
                delivery.check_until = permission.good_until
                allowed.append(delivery)
            else:
                self._outcomes.refused(delivery, reason)
        self._calls.add(allowed)

    async def _permitted(self, partition: Partition, deliveries: Sequence[Delivery]) -> SendPermission | None:
        """Claim and check; None: the partition has, or will have, another owner."""
        to = max((one.entry.offset + 1 for one in deliveries if one.entry is not None), default=0)
        while not await self._loops[partition.shard].claim(partition, to):
            await self._while_blocked(partition, deliveries)
        await self._ownership.prove(partition)
        if not partition.active:
            return None
        permission = await _CHECK.call(self._permission, partition.number, [one.message for one in deliveries])
        return permission if partition.active else None

    async def _while_blocked(self, partition: Partition, deliveries: Sequence[Delivery]) -> None:
        """Wait until the partition can be written again, or is given up; others have the places meanwhile."""
        retries = sum(delivery.entry is None for delivery in deliveries)
        self._admission.suspend(len(deliveries), retries, partition.shard)
        try:
            await self._until_settled(partition)
        finally:
            self._admission.resume(len(deliveries), retries, partition.shard)

    async def _permission(self, bucket: int, messages: Sequence[ChannelMessage]) -> SendPermission:
        return await self._check.still_allowed(bucket, messages, self._clocks.later_now(self._shards.of(bucket)))

    # -- For `ProviderCalls`

    def leave(self, delivery: Delivery) -> None:
        """Do not call: the partition has, or will have, another owner."""
        self._retrying.discard(delivery.key)
        self._admission.release(retry=delivery.entry is None, shard=delivery.partition.shard)

    def check_again(self, partition: Partition, deliveries: Sequence[Delivery]) -> None:
        task = asyncio.create_task(self._begin(partition, deliveries))
        self._checks.add(task)
        task.add_done_callback(partial(self._checked, partition))

    def _checked(self, partition: Partition, task: asyncio.Task[None]) -> None:
        self._checks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # What was not called has no other task: the partition is read again, and its timers are looked for.
            log.error(
                "a check ended unexpectedly, its partition is read again",
                extra={
                    "action": "check.lost",
                    "partition": partition.number,
                    "error": type(error).__name__,
                },
            )
            self._ownership.disown(partition)

    def call_ended(self, delivery: Delivery, result: ProviderResult) -> None:
        self._outcomes.call_ended(delivery, result)

    def call_is_late(self, delivery: Delivery, waited_s: float) -> None:
        self._outcomes.call_is_late(delivery, waited_s)

    def call_lost(self, delivery: Delivery, error: Exception) -> None:
        """Begin no call of the partition until the worker is restarted.

        Reading its messages again at once would send this one again, as often as the error comes again.
        """
        delivery.partition.active = False
        self.failed = self.failed or error

    # -- For the loops

    def _with_timers(self) -> dict[int, dict[int, Partition]]:
        """Shard → number → partition, of those whose timers may be claimed."""
        return {
            shard: {number: one for number, one in partitions.items() if not one.blocked}
            for shard, partitions in self._ownership.by_shard().items()
        }

    def _store_of(self, bucket: int) -> SettlementStore:
        return self._stores[self._shards.of(bucket)]

    # -- Expiry

    async def _expire(self) -> None:
        """Delete the attempts of notifications that have expired: the first range of ids of each bucket."""
        kept_s = self._retention.attempts.total_seconds()
        while True:
            await asyncio.sleep(min(_EXPIRE_EVERY_S, kept_s / 4) * random.uniform(0.5, 1.0))
            for number in list(self._ownership.partitions):
                shard = self._shards.of(number)
                try:
                    # By the clock that deletes their notifications: with one that is ahead they would be gone before those.
                    await self._clocks.read(shard, _EXPIRE_CLOCK_AGE_S)
                    before_s = int(self._clocks.earliest(shard).timestamp() - kept_s)
                    await self._attempts.delete_before(number, max(0, before_s))
                except RetryLater as error:
                    log.warning("expired attempts not deleted yet", extra={"action": "attempts.expire", "error": error})
