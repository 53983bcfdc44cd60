"""Delivers channel messages: admit, check, call, settle, acknowledge.

A message is acknowledged when its first attempt is durable. What was not accepted waits in a timer for its next attempt, until it expires.
After a crash the next owner of a partition looks up the offsets for which calls may have begun, and marks calls without a stored outcome as
possible duplicates. `docs/architecture/delivery.md` has the rules.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

from notify_streams import metrics, tasks
from notify_streams.delivery import call_outcomes
from notify_streams.delivery.attempt_reader import AttemptReader
from notify_streams.delivery.attempts import Attempt, delivery_key, has_key
from notify_streams.delivery.calls import ProviderCalls
from notify_streams.delivery.collapse_keys import CollapseKeys
from notify_streams.delivery.delivery_ledger import DeliveryLedger, Token
from notify_streams.delivery.device_results import is_reached, remaining
from notify_streams.delivery.due_timers import DueTimers
from notify_streams.delivery.late_answers import LateAnswers
from notify_streams.delivery.partition import Delivery, Entry, Partition
from notify_streams.delivery.pauses import ProviderPauses
from notify_streams.delivery.providers import ProviderOutcome, ProviderResult
from notify_streams.delivery.retry_timers import RetryTimers
from notify_streams.delivery.settle_loop import MAX_UNSETTLED, MAX_UNSETTLED_S, SettleLoop
from notify_streams.delivery.settlement import SettlementStore
from notify_streams.delivery.timers import TimerReader
from notify_streams.errors import RetryLater, StoreUnavailable
from notify_streams.failpoints import failpoint
from notify_streams.records.batch import AckHandle
from notify_streams.records.channel_message import ChannelMessage, for_devices, read_channel_message
from notify_streams.records.ids import new_flush_id
from notify_streams.records.outcomes import DeliveryState, Reason
from notify_streams.retry import STORE, RetryPolicy
from notify_streams.settings_retention import RetentionSettings
from notify_streams.stores.orphaned_transactions import abort_orphaned_transactions
from notify_streams.stores.sealed_sums import OpenPeriods
from notify_streams.stores.shard_clocks import ShardClocks
from notify_streams.tracing.trace_context import trace_fields

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from notify_streams.delivery.admission import Admission
    from notify_streams.delivery.delivery_spans import DeliverySpans
    from notify_streams.delivery.event_outbox import EventOutbox
    from notify_streams.delivery.mail_links import MailLinks
    from notify_streams.delivery.provider_order import ProviderOrder
    from notify_streams.delivery.provider_state import ProviderState
    from notify_streams.delivery.retry_delay import RetryDelay
    from notify_streams.outbox.flush_plan import OutboxRow
    from notify_streams.preferences.categories import Categories
    from notify_streams.preferences.provider_check import SendPermission
    from notify_streams.records.batch import Batch, OutboxRecord, SourceRecord
    from notify_streams.roles import Channel, Lane
    from notify_streams.stores.mongo import Document, Shards
    from notify_streams.templates.catalog import Templates

log = logging.getLogger(__name__)

#: A proof that is older is renewed before a group of calls.
_RENEW_AFTER_S: Final = 0.5
_EXPIRE_EVERY_S: Final = 900.0
#: Calls that end within this time after a revocation or stop are settled by this worker.
_DRAIN_S: Final = 1.5
#: How often it is looked whether a silent shard answers again.
_SILENT_LOOK_S: Final = 0.5
_STOP_S: Final = 0.5

#: A flush costs much more than a result. Twice this time may pass before a message is called for which no offset was claimed ahead.
_FLUSH_INTERVAL_S: Final[dict[Lane, float]] = {"critical": 0.005, "standard": 0.05}

_LOOK_UP: Final = STORE.named("delivery.look_up")
_VERIFY: Final = STORE.named("delivery.verify")
_CHECK: Final = STORE.named("delivery.check")
#: For longer than a bucket that moves can be written on no shard.
_EVIDENCE: Final = RetryPolicy("delivery.evidence", first_s=0.1, max_s=1.0, max_attempts=20)


class SendCheck(Protocol):
    """The check before the provider call (`preferences.provider_check.ProviderCheck`)."""

    async def still_allowed(self, bucket: int, messages: Sequence[ChannelMessage], now: datetime) -> SendPermission: ...


class BatchHandle(AckHandle, Protocol):
    """One batch of a partition, and how to acknowledge it (`transport.BatchEvent`)."""

    @property
    def value(self) -> Batch: ...


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
        call_timeout_s: float,
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
            spans: None while tracing is off.
            on_end: called with category, state and reason of each delivery whose end is durable.
            region: a mark of each call, by which receipts find the way; None: no mark.
        """
        self._role = role
        self._channel: Channel = channel
        self._lane = lane
        self._shards = shards
        self._check = check
        self._on_dead_address = on_dead_address
        self._order = order
        self._on_refused_address = on_refused_address
        self._events = events
        self._admission = admission
        self._retry_delay = retry_delay
        self._call_timeout_s = call_timeout_s
        self._retention = retention = retention or RetentionSettings()
        self._spans = spans
        self._ledger = DeliveryLedger(shards, role, store_timeout_s)
        self._reader = AttemptReader(shards, store_timeout_s)
        timers = TimerReader(shards, role, store_timeout_s)
        self._clocks = clocks or ShardClocks(shards, store_timeout_s)
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
        self._stores = [SettlementStore(shards, shard, self._ledger, store_timeout_s) for shard in range(len(shards))]
        self._loops = [
            SettleLoop(
                role,
                channel,
                store,
                events,
                LateAnswers(channel, self._store_of, events, on_end),
                self._on_refused,
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
        #: The partitions of the current assignment, by number.
        self._partitions: dict[int, Partition] = {}
        self._generation = 0
        self._settled = asyncio.Event()
        self._proofs: dict[int, asyncio.Task[None]] = {}
        self._others: set[asyncio.Task[None]] = set()
        #: Tasks that store how calls ended.
        self._appending: set[asyncio.Task[None]] = set()
        #: Partitions that are being owned anew.
        self._owning: set[Partition] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._closed = False
        #: The error that ended a loop unexpectedly: the worker must be restarted.
        self.failed: BaseException | None = None

    # -- Lifecycle

    async def start(self) -> None:
        await self._calls.start()
        runs: list[Callable[[], Any]] = [
            *(loop.run for loop in self._loops),
            partial(self._retry_timers.run, self._by_shard),
            partial(self._due_timers.run, self._by_shard),
            self._calls.watch,
            self._calls.watch_pauses,
            self._expire,
            self._events.run,
            self._lend_places,
        ]
        self._tasks = [asyncio.create_task(self._guarded(run)) for run in runs]

    async def stop(self) -> None:
        """Settle the calls that end soon, then close. The next owner marks the others as possible duplicates."""
        self._closed = self._calls.stopping = True
        for partition in self._partitions.values():
            partition.active = False
        await self._drain(_STOP_S)
        await self._calls.close()
        if self._appending:
            await asyncio.wait(self._appending, timeout=_STOP_S)
        rest = (*self._others, *self._appending, *self._proofs.values(), *self._tasks)
        await self._calls.stop()
        await tasks.stop(rest)

    @property
    def held(self) -> bool:
        """Whether partitions wait for the provider, so that a restart would cure nothing."""
        return self._admission.held

    def counted_to(self, partition: int) -> int | None:
        """Below this position every message of an owned partition has an outcome; moves within a batch."""
        owned = self._partitions.get(partition)
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
        self.release_all()
        self._generation = generation
        self._events.on_assigned(())
        await self._drain(_DRAIN_S)

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
        shards = {self._shards.of(one) for one in partitions}
        await abort_orphaned_transactions(self._shards, shards)
        for shard in shards:
            await self._clocks.read(shard)
        taken = await self._acquire(partitions, first_positions)
        self._partitions |= taken
        self._events.on_assigned(self._partitions)
        self._retry_timers.look_now()
        return {number: partition.next_offset for number, partition in taken.items()}

    async def _acquire(
        self, partitions: Collection[int], first_positions: Callable[[Collection[int]], Any]
    ) -> dict[int, Partition]:
        token, began = Token(self._generation), time.monotonic()
        owned = await self._ledger.acquire(partitions, token)
        if missing := set(partitions) - owned.keys():
            if others := await self._ledger.existing(missing):
                raise RetryLater(f"{self._role}: a worker of a later generation owns partitions {sorted(others)}")
            owned |= await self._ledger.create(await first_positions(missing), token)
        return {number: Partition(ledger, token, self._shards.of(number), began) for number, ledger in owned.items()}

    def release_all(self) -> None:
        """Begin no call any more. Calls under way are settled as long as no other worker has taken over."""
        for partition in self._partitions.values():
            partition.active = False
        self._partitions = {}
        self._calls.leave_waiting()

    def _disown(self, partition: Partition) -> None:
        """Begin no call of the partition, and own it anew."""
        partition.active, partition.fenced = False, True
        self._on_refused(partition)

    def _on_refused(
        self, partition: Partition, ends: Sequence[Document] = (), events: Sequence[OutboxRecord] = ()
    ) -> None:
        """The ledger has another token or position, or is on another shard: own it anew, or stop until it is assigned anew.

        Args:
            ends: how calls ended that were not settled.
            events: those of the ends.
        """
        if ends:
            self._spawn(self._append(ends, self._events.rows_of(new_flush_id(), events)), self._appending)
        if self._partitions.get(partition.number) is partition and partition not in self._owning and not self._closed:
            log.warning(
                "ledger refused a worker",
                extra={"action": "delivery.fence", "topic": self._role, "partition": partition.number},
            )
            self._owning.add(partition)
            self._spawn(self._own_anew(partition), self._others)

    async def _append(self, ends: Sequence[Document], event_rows: Sequence[OutboxRow]) -> None:
        """Store how calls ended whose partition has another owner, or is on another shard."""
        try:
            await _EVIDENCE.call(self._stores[0].add_evidence, ends, event_rows)
            self._events.committed(event_rows)
        except StoreUnavailable as error:
            log.warning(
                "ends of calls could not be stored; their deliveries may be repeated, marked",
                extra={"action": "evidence.lost", "count": len(ends), "error": error},
            )

    async def _own_anew(self, partition: Partition) -> None:
        """Store how the calls under way end, then own the partition as after an assignment, if no other worker does."""
        number = partition.number
        if running := self._calls.under_way(partition):
            await asyncio.wait(running, timeout=_DRAIN_S)
        await self._loops[partition.shard].settled()
        if self._appending:
            await asyncio.wait(self._appending)
        if self._partitions.get(number) is not partition:
            self._owning.discard(partition)
            return  # assigned anew meanwhile, or to another worker, whose token must stay
        token = Token(self._generation)
        owned = await _VERIFY.call(self._ledger.acquire, [number], token)
        self._owning.discard(partition)
        handle = partition.oldest_handle()
        if number not in owned or self._partitions.get(number) is not partition:
            return
        self._partitions[number] = Partition(owned[number], token, self._shards.of(number), time.monotonic())
        self._retry_timers.look_now()
        if handle is not None:
            handle.refuse(owned[number].next_offset)

    async def _drain(self, seconds: float) -> None:
        """Wait until no call is under way and everything is settled, at most so long."""
        try:
            async with asyncio.timeout(seconds):
                if running := self._calls.under_way():
                    await asyncio.wait(running)
                await asyncio.gather(*(loop.settled() for loop in self._loops))
        except TimeoutError:
            pass

    # -- From the topic to a call

    async def deliver(self, event: BatchHandle) -> None:
        """Begin the batch's deliveries. It is acknowledged when each has a durable outcome."""
        batch = event.value
        partition = self._partitions.get(batch.partition)
        if batch.start == batch.end or partition is None or not partition.active or not event.current():
            return
        if batch.start != partition.read_to:
            event.refuse(partition.read_to)
            return
        try:
            await self._deliver(partition, batch, event)
        except Exception:
            # The batch comes again. Read it as after an assignment: some of its records may be counted.
            self._disown(partition)
            raise

    async def _deliver(self, partition: Partition, batch: Batch, event: BatchHandle) -> None:
        entries = [Entry(record.offset) for record in batch.records]
        partition.add(batch.end, batch.lost, entries, event)
        if not entries:
            self._loops[partition.shard].add_counted(partition)
        begun = 0
        while begun < len(entries) and partition.active:
            await self._until_settled(partition)
            if partition.shard in self._shards.silent():
                await asyncio.sleep(_SILENT_LOOK_S)
                continue
            count = await self._admission.take(len(entries) - begun, partition.shard)
            part = slice(begun, begun + count)
            begun += count
            try:
                deliveries = await self._read(partition, batch.records[part], entries[part])
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
            silent = self._shards.silent()
            for shard in range(len(self._shards)):
                if shard in silent:
                    self._admission.lend(shard)
                else:
                    self._admission.take_back(shard)

    async def _until_settled(self, partition: Partition) -> None:
        """Wait while too much on the partition's shard is not settled: a crash would repeat it."""
        while partition.shard in self.shards_behind():
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

    async def _read(
        self, partition: Partition, records: Sequence[SourceRecord], entries: Sequence[Entry]
    ) -> list[Delivery]:
        """The deliveries of these records; records that are none, or whose outcome is stored, are counted."""
        deliveries: list[Delivery] = []
        unknown: list[Delivery] = []
        for record, entry in zip(records, entries, strict=True):
            message = self._message(record)
            if message is None:
                entry.counted = ("foreign",)
                continue
            entry.key = delivery_key(message.delivery_id, _ms(message.decided_at))
            is_wanted = partition.place(entry, message.source_topic, message.source_offset)
            is_new = partition.is_new(entry)
            if not is_wanted or not partition.open(entry):
                entry.counted = ("duplicate",)
                continue
            delivery = Delivery(
                partition, entry.key, message, record.value or b"", entry, published_ms=record.timestamp
            )
            if self._spans is not None:
                delivery.trace = self._spans.begin(message, record.timestamp * 1_000_000)
            (deliveries if is_new else unknown).append(delivery)
        if unknown:
            deliveries += await self._without_outcome(partition, unknown)
        return deliveries

    async def _without_outcome(self, partition: Partition, unknown: Sequence[Delivery]) -> list[Delivery]:
        """Look up deliveries that may be known; returns those without a stored outcome.

        The outbox writes a message with its notification in one transaction, so one without a notification has another source: it is not sent.
        """
        keys = [delivery.key for delivery in unknown]
        states = await _LOOK_UP.call(self._reader.first_states, partition.number, keys)
        found: list[Delivery] = []
        for delivery in unknown:
            entry = delivery.entry
            assert entry is not None, "it comes from the topic"
            state = states.get(delivery.key)
            if state is None:
                delivery.in_doubt = partition.is_in_doubt(entry)
                found.append(delivery)
            elif partition.was_counted(entry):
                entry.counted = ("duplicate",)
            else:
                entry.count_first(state)
        if not found:
            return found
        ids = [delivery.message.notification_id for delivery in found]
        notified = await _LOOK_UP.call(self._reader.notified, partition.number, ids)
        return [
            delivery
            for delivery in found
            if delivery.message.notification_id in notified or _reject(self._role, delivery)
        ]

    def _message(self, record: SourceRecord) -> ChannelMessage | None:
        try:
            message = read_channel_message(record.value or b"")
            if not has_key(_ms(message.decided_at)):
                raise msgspec.ValidationError("`decided_at` is not between 1970 and 2106")
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            metrics.REJECTED_RECORDS.labels(self._role, "invalid").inc()
            log.error(
                "invalid channel message rejected",
                extra={
                    "action": "message.invalid",
                    "offset": record.offset,
                    "error": error,
                    **trace_fields(record.headers or ()),
                },
            )
            return None
        if message.channel != self._channel:
            metrics.REJECTED_RECORDS.labels(self._role, "other_channel").inc()
            log.error(
                "message for another channel rejected",
                extra={"action": "message.misrouted", "offset": record.offset, **trace_fields(record.headers or ())},
            )
            return None
        return message

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
                self._wait_for_category(delivery)
            elif reason is None and place in permission.unchecked:
                self._put_off(delivery, "address not checked", self._due_ms(delivery, 0.0, None))
            elif reason is None:
                delivery.check_until = permission.good_until
                allowed.append(delivery)
            else:
                self._settle_refused(delivery, reason)
        self._calls.add(allowed)

    async def _permitted(self, partition: Partition, deliveries: Sequence[Delivery]) -> SendPermission | None:
        """Claim and check; None: the partition has, or will have, another owner."""
        offsets = [delivery.entry.offset for delivery in deliveries if delivery.entry is not None]
        if offsets:
            await self._loops[partition.shard].claim(partition, max(offsets) + 1)
        if time.monotonic() > partition.proved_at + _RENEW_AFTER_S:
            await self._prove(partition)
        if not partition.active:
            return None
        permission = await _CHECK.call(self._permission, partition.number, [one.message for one in deliveries])
        return permission if partition.active else None

    async def _permission(self, bucket: int, messages: Sequence[ChannelMessage]) -> SendPermission:
        return await self._check.still_allowed(bucket, messages, datetime.now(UTC))

    async def _prove(self, partition: Partition) -> None:
        """Read the tokens of all partitions of the shard. Concurrent callers share one reading."""
        shard = partition.shard
        proof = self._proofs.get(shard)
        if proof is None or proof.done():
            proof = self._proofs[shard] = asyncio.create_task(self._prove_shard(shard))
        await asyncio.shield(proof)

    async def _prove_shard(self, shard: int) -> None:
        partitions = [one for one in self._partitions.values() if one.shard == shard]
        owned, began = await _VERIFY.call(self._ledger.owned, shard, {one.number: one.token for one in partitions})
        for partition in partitions:
            if partition.number in owned:
                partition.proved_at = max(partition.proved_at, began)
            elif partition.active:
                self._disown(partition)

    # -- For `ProviderCalls`

    def leave(self, delivery: Delivery) -> None:
        """Do not call: the partition has, or will have, another owner."""
        self._retrying.discard(delivery.key)
        self._admission.release(retry=delivery.entry is None, shard=delivery.partition.shard)

    def check_again(self, partition: Partition, deliveries: Sequence[Delivery]) -> None:
        self._spawn(self._begin(partition, deliveries), self._others)

    def call_ended(self, delivery: Delivery, result: ProviderResult) -> None:
        """Settle how a call ended, or the answer to a parked one."""
        if result.outcome is ProviderOutcome.ACCEPTED or is_reached(result):
            self._collapse_keys.sent(delivery)
        if result.devices is not None:
            for device in result.devices:
                if device.result.outcome is ProviderOutcome.DEAD_TOKEN:
                    self._report_dead(delivery, device.token)
        elif result.outcome is ProviderOutcome.DEAD_TOKEN:
            self._report_dead(delivery, delivery.message.to)
        if result.outcome in (ProviderOutcome.DEAD_TOKEN, ProviderOutcome.REJECTED):
            self._on_refused_address(delivery.message, result)
        if not delivery.parked:
            self._settle(delivery, result)
        elif result.outcome is not ProviderOutcome.RETRY or is_reached(result):
            _keep_remaining(delivery, result)
            self._loops[delivery.partition.shard].add_answer(delivery, call_outcomes.ended(delivery, result))

    def _report_dead(self, delivery: Delivery, address: str) -> None:
        called_ms = int((time.time() - (time.monotonic() - delivery.began)) * 1000)
        self._on_dead_address(delivery.partition.number, delivery.message, address, called_ms)

    def call_is_late(self, delivery: Delivery, waited_s: float) -> None:
        """Settle a call without an answer as retrying. Its answer, if it comes, ends the delivery."""
        due_ms = self._due_ms(delivery, max(0.0, self._call_timeout_s - waited_s), None)
        self._add(delivery, call_outcomes.unanswered(delivery, waited_s), due_ms)
        failpoint("after_park")

    # -- Outcomes

    def _settle(self, delivery: Delivery, result: ProviderResult) -> None:
        is_retry = result.outcome is ProviderOutcome.RETRY
        _keep_remaining(delivery, result)
        due_ms = self._due_ms(delivery, 0.0, result) if is_retry else None
        self._add(delivery, call_outcomes.ended(delivery, result), due_ms)

    def _settle_refused(self, delivery: Delivery, reason: Reason) -> None:
        self._add(delivery, call_outcomes.not_called(delivery, reason), None)
        self._admission.release(retry=delivery.entry is None, shard=delivery.partition.shard)

    def _wait_for_category(self, delivery: Delivery) -> None:
        delay_ms = math.ceil(1000 * self._retry_delay.max_s * random.uniform(0.5, 1.0))
        due_ms = self._clocks.latest_ms(delivery.partition.shard) + delay_ms
        self._put_off(delivery, "category paused", _not_after_expiry(delivery, due_ms))

    def _put_off(self, delivery: Delivery, why: str, due_ms: int) -> None:
        """Settle a delivery as retrying, without a call."""
        self._add(delivery, call_outcomes.put_off(delivery, why), due_ms)
        self._admission.release(retry=delivery.entry is None, shard=delivery.partition.shard)

    def _due_ms(self, delivery: Delivery, after_s: float, result: ProviderResult | None) -> int:
        """When the next attempt is due by the shard's clock: `after_s` from now and the delay.

        At the latest when the message expires, which that attempt then finds. At once, if another provider may be called: this one has not
        taken the message, or its category accepts a duplicate.
        """
        from_ms = self._clocks.latest_ms(delivery.partition.shard) + math.ceil(after_s * 1000)
        if (
            result is not None
            and not self._calls.stays(delivery, result)
            and self._order.has_next(delivery.provider, time.monotonic())
        ):
            return from_ms
        delay_s = self._retry_delay.delay_s(
            delivery.number,
            random.random(),
            None if result is None else result.retry_after_s,
            throttled=result is not None and result.throttled,
        )
        return _not_after_expiry(delivery, from_ms + math.ceil(delay_s * 1000))

    def _store_of(self, bucket: int) -> SettlementStore:
        return self._stores[self._shards.of(bucket)]

    def _add(self, delivery: Delivery, attempt: Attempt, due_ms: int | None) -> None:
        self._loops[delivery.partition.shard].add(delivery, attempt, due_ms)

    # -- Timers and expiry

    def _by_shard(self) -> dict[int, dict[int, Partition]]:
        """Shard → number → partition of the current assignment. One whose bucket has moved is owned anew: its timers are elsewhere."""
        found: dict[int, dict[int, Partition]] = {}
        for partition in list(self._partitions.values()):
            if partition.active and partition.shard != self._shards.of(partition.number):
                self._disown(partition)
            if partition.active:
                found.setdefault(partition.shard, {})[partition.number] = partition
        return found

    async def _expire(self) -> None:
        """Delete the attempts of notifications that have expired: the first range of ids of each bucket."""
        kept_s = self._retention.attempts.total_seconds()
        while True:
            await asyncio.sleep(min(_EXPIRE_EVERY_S, kept_s / 4) * random.uniform(0.5, 1.0))
            before = int(time.time() - kept_s)
            for number in list(self._partitions):
                try:
                    await self._reader.delete_before(number, before)
                except RetryLater as error:
                    log.warning("expired attempts not deleted yet", extra={"action": "attempts.expire", "error": error})

    def _spawn(self, work: Any, kept_in: set[asyncio.Task[None]]) -> None:
        task = asyncio.create_task(work)
        kept_in.add(task)
        task.add_done_callback(kept_in.discard)


def _ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)


def _keep_remaining(delivery: Delivery, result: ProviderResult) -> None:
    """The timer keeps the message for the devices that the next attempt calls."""
    devices = delivery.message.devices
    if result.outcome is ProviderOutcome.RETRY and result.devices is not None and devices is not None:
        again = remaining(devices, result.devices)
        delivery.record = for_devices(delivery.message, again, reached=is_reached(result))


def _not_after_expiry(delivery: Delivery, due_ms: int) -> int:
    expires_at = delivery.message.expires_at
    return due_ms if expires_at is None else min(due_ms, _ms(expires_at) + 1)


def _reject(topic: str, delivery: Delivery) -> bool:
    """Count a message without a notification as foreign."""
    assert delivery.entry is not None, "it comes from the topic"
    delivery.entry.counted = ("foreign",)
    metrics.REJECTED_RECORDS.labels(topic, "unknown_notification").inc()
    log.error(
        "message without a notification rejected",
        extra={
            "action": "message.unknown",
            "offset": delivery.entry.offset,
            **trace_fields(delivery.message.traceparent),
        },
    )
    return False
