"""Group commit of attempts for the partitions of one shard.

One flush at a time; the next one takes everything queued meanwhile. A flush that stays refused is divided: each partition is settled in
a flush of its own, as soon as it can be written, and the others go on.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from notify_streams import metrics
from notify_streams.delivery.attempts import Attempt, Phase, Rank, attempt_document
from notify_streams.delivery.delivery_ledger import RESOLVED
from notify_streams.delivery.settlement import AttemptsExist, Settlement, TimersChanged, TokenRefused
from notify_streams.delivery.timers import arm, claim, drop, new_timer, rearm
from notify_streams.errors import StoreUnavailable, UnknownFailure
from notify_streams.records.ids import ledger_id, new_flush_id
from notify_streams.retry import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from notify_streams.delivery.delivery_spans import DeliverySpans
    from notify_streams.delivery.event_outbox import EventOutbox
    from notify_streams.delivery.late_answers import LateAnswers
    from notify_streams.delivery.partition import Delivery, Partition
    from notify_streams.delivery.settlement import SettlementStore
    from notify_streams.delivery.timers import Timer
    from notify_streams.records.batch import OutboxRecord
    from notify_streams.records.outcomes import DeliveryState
    from notify_streams.stores.mongo import Document
    from notify_streams.stores.sealed_sums import OpenPeriods

log = logging.getLogger(__name__)

_SETTLE: Final = RetryPolicy("delivery.settle", first_s=0.05, max_s=2.0)
_LOOK_UP: Final = RetryPolicy("delivery.look_up_stored", first_s=0.05, max_s=2.0)
#: No call begins while more results than this are not settled, or one is older than `MAX_UNSETTLED_S`.
MAX_UNSETTLED: Final = 512
MAX_UNSETTLED_S: Final = 1.0
#: After so many failures of writes a flush is divided.
_MAX_WHOLE_FAILURES: Final = 2
#: Offsets are claimed ahead for the calls of so many seconds.
_AHEAD_S: Final = 0.5


@dataclass(slots=True, eq=False)
class _Result:
    delivery: Delivery
    attempt: Attempt
    #: When the next attempt is due, milliseconds since the epoch; None: the delivery has ended.
    due_ms: int | None
    at: float


@dataclass(slots=True, eq=False)
class _TimerClaim:
    partition: Partition
    timers: Sequence[Timer]
    done: asyncio.Future[bool]


@dataclass(slots=True, eq=False)
class _Flush:
    """What one transaction writes."""

    id: str
    settlements: list[Settlement]
    claims: list[_TimerClaim]
    results: Sequence[_Result]
    #: When it was planned (monotonic).
    began: float


@dataclass(slots=True, eq=False)
class _Alone:
    """A partition that is settled in a flush of its own."""

    settling: asyncio.Task[None]
    #: The next flush has them, after that one.
    results: list[_Result] = field(default_factory=list)


class SettleLoop:
    """Settles the partitions of one shard."""

    def __init__(
        self,
        role: str,
        channel: str,
        store: SettlementStore,
        events: EventOutbox,
        late_answers: LateAnswers,
        on_refused: Callable[[Partition, Sequence[Document], Sequence[OutboxRecord]], object],
        on_settled: Callable[[int | None], object],
        on_end: Callable[[str, DeliveryState, str | None], None] | None,
        retrying: set[bytes],
        interval_s: float,
        periods: OpenPeriods,
        spans: DeliverySpans | None = None,
    ) -> None:
        """Settle the partitions of `role` on the shard of `store`.

        Args:
            late_answers: settled after each flush.
            on_refused: called with a partition whose ledger refused this worker, the ends of its calls, and their events.
            on_settled: called after each flush, with the earliest time of its timers (milliseconds since the epoch).
            on_end: called with category, state and reason of each delivery that has ended.
            interval_s: the least time between the beginnings of two flushes.
            retrying: the keys of deliveries whose timer is claimed; those that are settled are removed.
            periods: of the ledgers on this shard.
            spans: None while tracing is off.
        """
        self._role = role
        self._channel = channel
        self._store = store
        self._events = events
        self._late_answers = late_answers
        self._on_refused = on_refused
        self._on_settled = on_settled
        self._on_end = on_end
        self._retrying = retrying
        self._interval_s = interval_s
        self._periods = periods
        self._spans = spans
        self._results: list[_Result] = []
        self._flushing: list[_Result] = []
        self._changed: dict[Partition, None] = {}
        self._claims: list[tuple[Partition, int, asyncio.Future[None]]] = []
        self._timer_claims: list[_TimerClaim] = []
        self._alone: dict[Partition, _Alone] = {}
        #: Who waits for the end of which flush.
        self._idle: list[tuple[int, asyncio.Future[None]]] = []
        #: Flushes that have begun.
        self._begun = 0
        self._wake = asyncio.Event()
        self._begun_a_second = 0.0
        self._next_flush_at = 0.0
        self._busy = False
        #: When the present flush began, or the last one (monotonic).
        self._began = 0.0

    # -- Queue

    def add(self, delivery: Delivery, attempt: Attempt, due_ms: int | None) -> None:
        """Settle an attempt. A retrying one has a time for the next attempt."""
        result = _Result(delivery, attempt, due_ms, time.monotonic())
        if (alone := self._alone.get(delivery.partition)) is not None:
            alone.results.append(result)
            return
        self._results.append(result)
        self._wake.set()

    def add_counted(self, partition: Partition) -> None:
        """Move the ledger past entries that need no attempt."""
        self._changed[partition] = None
        self._wake.set()

    async def claim(self, partition: Partition, to: int) -> bool:
        """Return when calls for offsets below `to` may begin, or the partition is given up; False while it is `blocked`."""
        partition.wanted_to = max(partition.wanted_to, to)
        if partition.claimed_to < to and partition.active and not partition.blocked:
            claimed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._claims.append((partition, to, claimed))
            self.add_counted(partition)
            await claimed
        return not (partition.blocked and partition.active)

    async def claim_timers(self, partition: Partition, timers: Sequence[Timer]) -> bool:
        """Claim due timers; False if one has changed since it was read or changes in this flush, or the partition is blocked or given up."""
        if partition.blocked:
            return False
        one = _TimerClaim(partition, timers, asyncio.get_running_loop().create_future())
        self._timer_claims.append(one)
        self._wake.set()
        return await one.done

    def add_answer(self, delivery: Delivery, attempt: Attempt) -> None:
        """End a delivery whose call was settled as retrying by the answer to that call, unless a later attempt has begun."""
        self._late_answers.add(delivery, attempt)
        self._wake.set()

    async def settled(self) -> None:
        """Return when everything that is queued now is settled, without that of blocked partitions that are not given up."""
        if ending := [alone.settling for partition, alone in self._alone.items() if not partition.active]:
            await asyncio.wait(ending)
        waits = bool(self._results or self._changed or self._late_answers)
        if not (waits or self._busy):
            return
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._idle.append((self._begun + waits, done))
        self._wake.set()
        await done

    def unsettled(self) -> tuple[int, float]:
        """How many results are not settled, and for how many seconds the oldest is not; without those of blocked partitions."""
        oldest = self._flushing or self._results
        age_s = time.monotonic() - oldest[0].at if oldest else 0.0
        return len(self._flushing) + len(self._results), age_s

    def flushing_s(self) -> float:
        """For how many seconds the present flush has been under way; 0 without one."""
        return time.monotonic() - self._began if self._busy else 0.0

    # -- Flush

    async def run(self) -> None:
        """Settle until cancelled. A cancellation at any point loses nothing: the next owner looks the claimed offsets up."""
        async with asyncio.TaskGroup() as settling:
            while True:
                await self._woken()
                # More results in one transaction cost less; the first after a pause is settled at once.
                await asyncio.sleep(self._next_flush_at - time.monotonic())
                await self._flush_queued(settling)

    async def _flush_queued(self, settling: asyncio.TaskGroup) -> None:
        """`settling`: for the tasks that settle a partition alone."""
        self._wake.clear()
        self._busy = True
        self._begun += 1
        self._began = began = time.monotonic()
        self._next_flush_at = began + self._interval_s
        self._flushing, self._results = self._results, []
        count = len(self._flushing)
        changed = dict.fromkeys(result.delivery.partition for result in self._flushing) | self._changed
        self._changed = {}
        timer_claims, self._timer_claims = self._timer_claims, []
        changed |= dict.fromkeys(one.partition for one in timer_claims)
        for partition in self._alone:
            changed.pop(partition, None)
        flush = self._plan_flush(changed, timer_claims, began)
        planned = [one.partition for one in flush.settlements]
        for rest in await self._commit(flush, divisible=True):
            self._settle_alone(settling, flush, rest)
        for one in timer_claims:
            if not one.done.done():
                one.done.set_result(False)
        self._refuse_fenced(planned, self._flushing)
        if self._late_answers and await self._late_answers.settle():
            self._periods.moved()
        took_s = max(time.monotonic() - began, self._interval_s)
        self._begun_a_second += 0.2 * (count / took_s - self._begun_a_second)
        settled, self._flushing = self._flushing, []
        self._busy = False
        self._ended(settled)
        self._end_waits()
        self._on_settled(min((one.due_ms for one in settled if one.due_ms is not None), default=None))
        # After the flush: no call waits for it.
        await self._periods.follow(
            {
                ledger_id(self._role, self._role, one.number): one.number
                for one in changed
                if not (one.fenced or one.blocked)
            }
        )

    def _ended(self, results: Sequence[_Result]) -> None:
        """These are settled, or their partition has another owner."""
        # Not before: until then its timer is as it was claimed, and would be claimed again.
        self._retrying.difference_update(one.delivery.key for one in results if one.delivery.entry is None)
        self._end_claims()

    async def _woken(self) -> None:
        """Wait until there is something to settle, and seal sums whose period is over meanwhile."""
        while not self._wake.is_set():
            try:
                async with asyncio.timeout(self._periods.due_s()):
                    await self._wake.wait()
            except TimeoutError:
                await self._periods.seal_idle()

    def _plan_flush(self, changed: Iterable[Partition], timer_claims: Sequence[_TimerClaim], began: float) -> _Flush:
        results = self._flushing
        planned = {one: Settlement(one) for one in changed if not one.fenced}
        for result in results:
            if (settlement := planned.get(result.delivery.partition)) is not None:
                self._plan(settlement, result)
        ending = {result.delivery.key for result in results}
        claims = [
            one
            for one in timer_claims
            if one.partition in planned
            and one.partition.active
            and ending.isdisjoint(timer.key for timer in one.timers)
        ]
        ahead = int(_AHEAD_S * self._begun_a_second / max(1, len(planned)))
        for partition, settlement in planned.items():
            settlement.step = partition.advance()
            settlement.claimed_to = partition.next_claim(ahead)
        return _Flush(new_flush_id(), list(planned.values()), claims, results, began)

    def _settle_alone(self, settling: asyncio.TaskGroup, whole: _Flush, settlement: Settlement) -> None:
        """Settle a partition in a flush of its own; nothing else of it is settled or begins until then."""
        partition = settlement.partition
        settlement.whole_id = whole.id
        results = [one for one in self._flushing if one.delivery.partition is partition]
        self._flushing = [one for one in self._flushing if one.delivery.partition is not partition]
        flush = _Flush(new_flush_id(), [settlement], [], results, whole.began)
        partition.blocked = True
        log.warning(
            "a flush is refused, each of its partitions is settled alone",
            extra={"action": "settle.alone", "role": self._role, "partition": partition.number},
        )
        queued = [one for one in self._results if one.delivery.partition is partition]
        self._results = [one for one in self._results if one.delivery.partition is not partition]
        self._alone[partition] = _Alone(settling.create_task(self._commit_alone(flush, partition)), queued)

    async def _commit_alone(self, flush: _Flush, partition: Partition) -> None:
        await self._commit(flush, divisible=False)
        partition.blocked = False
        self._results = self._alone.pop(partition).results + self._results
        self._refuse_fenced([partition], flush.results)
        self.add_counted(partition)
        self._ended(flush.results)
        # It may have timers that were due meanwhile.
        self._on_settled(0)

    def _refuse_fenced(self, partitions: Iterable[Partition], results: Sequence[_Result]) -> None:
        """Report those of the partitions, and of those of the results, that have another owner."""
        late: dict[Partition, list[_Result]] = {one: [] for one in partitions if one.fenced and not one.blocked}
        for result in results:
            if result.delivery.partition.fenced:
                late.setdefault(result.delivery.partition, []).append(result)
        for partition, found in late.items():
            ends = self._evidence(found)
            events = [event for one in ends if (event := self._event(one)) is not None]
            self._on_refused(partition, [self._document(one) for one in ends], events)

    def _plan(self, settlement: Settlement, result: _Result) -> None:
        delivery, attempt = result.delivery, result.attempt
        partition = settlement.partition
        settlement.attempts.append(self._document(result))
        if result.due_ms is None and (event := self._event(result)) is not None:
            settlement.events.append(event)
        if delivery.entry is not None:
            delivery.entry.count_first(attempt.state)
            if result.due_ms is not None:
                settlement.armed.append(arm(self._timer(result, result.due_ms)))
        elif result.due_ms is not None:
            settlement.changed.append(rearm(self._timer(result, result.due_ms), partition.token))
        else:
            settlement.dropped.append(drop(delivery.key, partition.number, partition.token))
            settlement.count(RESOLVED[attempt.state])

    async def _commit(self, flush: _Flush, *, divisible: bool) -> list[Settlement]:
        """Write a flush, as often as it needs; returns the settlements of one that is to be divided."""
        attempts = _SETTLE.attempts()
        strict = True
        refused_writes = 0
        while flush.settlements:
            began = time.monotonic()
            with_claims = _with_claims(flush.settlements, flush.claims)
            event_rows = self._events.rows_of(flush.id, [event for one in flush.settlements for event in one.events])
            committed_id = flush.id
            try:
                if attempts.failures and (found := await self._committed_id(flush)) is not None:
                    # By any of the attempts: since the first one another worker may have taken a partition over.
                    committed_id, began = found, flush.began
                    break
                if divisible and refused_writes >= _MAX_WHOLE_FAILURES:
                    return flush.settlements
                refused_writes += 1
                await self._store.write(flush.id, with_claims, event_rows, strict=strict)
                break
            except TokenRefused as refused:
                refused_writes = 0
                if not refused.partitions:
                    await attempts.failed(StoreUnavailable("the flush is written, but not by a majority yet"))
                flush.settlements = self._give_up(flush.settlements, refused.partitions)
                flush.claims = [one for one in flush.claims if one.partition not in refused.partitions]
            except TimersChanged:
                refused_writes = 0
                if not flush.claims:
                    log.error("a claimed timer has changed", extra={"action": "timer.changed", "role": self._role})
                    strict = False
                for one in flush.claims:
                    one.done.set_result(False)
                flush.claims = []
            except AttemptsExist:
                refused_writes = 0
                removed = await _LOOK_UP.call(self._store.without_stored, flush.settlements)
                log.error(
                    "attempts are stored already, they are left out",
                    extra={"action": "settle.repeated", "role": self._role, "count": removed},
                )
            except StoreUnavailable as error:
                await attempts.failed(error)
            except Exception as error:  # the ledger tells how far the flush came, so any error may be retried
                log.exception("unknown error of a flush", extra={"action": "settle.error", "role": self._role})
                await attempts.failed(UnknownFailure(f"settle: {type(error).__name__}"))
        else:
            return []
        attempts.succeeded()
        # Else they are in the row of the whole flush, which the next sweep publishes.
        if committed_id == flush.id:
            self._events.committed(event_rows)
        self._after_commit(flush, committed_id, began)
        return []

    async def _committed_id(self, flush: _Flush) -> str | None:
        """The id under which a flush was committed: its own, or that of the flush of which it was a part; None: it was not."""
        ids = dict.fromkeys((flush.id, *(one.whole_id for one in flush.settlements)))
        for flush_id in ids:
            if flush_id is not None and await self._store.is_committed(flush_id, flush.settlements):
                return flush_id
        return None

    def _give_up(self, settlements: Sequence[Settlement], refused: frozenset[Partition]) -> list[Settlement]:
        kept = []
        for settlement in settlements:
            if settlement.partition in refused:
                settlement.partition.active = False
                settlement.partition.fenced = True
                metrics.FENCED.inc()
            else:
                kept.append(settlement)
        return kept

    def _after_commit(self, flush: _Flush, committed_id: str, began: float) -> None:
        for settlement in flush.settlements:
            partition = settlement.partition
            partition.last_flush = committed_id
            partition.claimed_to = settlement.claimed_to
            partition.proved_at = max(partition.proved_at, began)
            assert settlement.step is not None
            partition.committed(settlement.step)
            for ack_handle in settlement.step.acks:
                ack_handle.ack()
            if lost := settlement.step.counts.get("lost"):
                metrics.LOST.labels(self._role).inc(lost)
        for one in flush.claims:
            one.done.set_result(True)
        ended: Counter[tuple[str, str]] = Counter()
        for result in flush.results:
            if not result.delivery.partition.fenced:
                if result.due_ms is None:
                    state, reason = result.attempt.state, result.attempt.reason
                    ended[state.value, reason or ""] += 1
                    if self._on_end is not None:
                        self._on_end(result.delivery.message.category, state, reason)
                result.delivery.is_settled = True
        if self._spans is not None:
            self._record_spans(self._spans, flush.results, began)
        for labels, count in ended.items():
            metrics.DELIVERIES.labels(self._channel, *labels).inc(count)

    def _record_spans(self, spans: DeliverySpans, results: Sequence[_Result], began: float) -> None:
        traced = [
            (one.delivery.trace, one.delivery.message.trigger_id, one.delivery.number, one.attempt)
            for one in results
            if one.delivery.trace is not None and one.delivery.is_settled
        ]
        if traced:
            ended_ns = time.time_ns()
            spans.settled(traced, ended_ns - int((time.monotonic() - began) * 1e9), ended_ns)

    def _evidence(self, results: Sequence[_Result]) -> list[_Result]:
        """How calls ended whose partition has another owner. Only ends: the owner decides about the next attempt."""
        return [one for one in results if one.due_ms is None and one.attempt.rank != Rank.SUPPRESSED]

    def _event(self, result: _Result) -> OutboxRecord | None:
        delivery = result.delivery
        return self._events.event_of(delivery.message, delivery.partition.number, result.attempt, delivery.number)

    def _document(self, result: _Result) -> Document:
        delivery = result.delivery
        partition = delivery.partition
        return attempt_document(
            delivery.key,
            partition.number,
            delivery.number,
            Phase.CALL,
            partition.token.random,
            result.attempt,
            delivery.traceparent,
        )

    def _timer(self, result: _Result, due_ms: int) -> Document:
        delivery = result.delivery
        return new_timer(
            delivery.key,
            delivery.partition.number,
            self._role,
            due_ms,
            delivery.number,
            result.attempt.in_doubt,
            delivery.record,
            provider=delivery.provider,
        )

    def _end_claims(self) -> None:
        waiting, self._claims = self._claims, []
        for partition, to, claimed in waiting:
            if claimed.done():
                continue
            if partition.claimed_to >= to or not partition.active or partition.blocked:
                claimed.set_result(None)
            else:
                self._claims.append((partition, to, claimed))
                self.add_counted(partition)

    def _end_waits(self) -> None:
        over = [done for flush, done in self._idle if flush <= self._begun]
        self._idle = [(flush, done) for flush, done in self._idle if flush > self._begun]
        for done in over:
            if not done.done():
                done.set_result(None)


def _with_claims(settlements: Sequence[Settlement], claims: Sequence[_TimerClaim]) -> list[Settlement]:
    """The settlements with the statements of these claims."""
    found = {one.partition: replace(one, changed=list(one.changed), counts=dict(one.counts)) for one in settlements}
    for one in claims:
        settlement = found.get(one.partition)
        if settlement is None:
            continue
        for timer in one.timers:
            settlement.changed.append(claim(timer, one.partition.token))
            if timer.replay and timer.claim is None:
                settlement.count("replayed")
    return list(found.values())
