"""Group commit of attempts for the partitions of one shard.

One flush at a time; the next one takes everything queued meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from dataclasses import dataclass, replace
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
        self._results.append(_Result(delivery, attempt, due_ms, time.monotonic()))
        self._wake.set()

    def add_counted(self, partition: Partition) -> None:
        """Move the ledger past entries that need no attempt."""
        self._changed[partition] = None
        self._wake.set()

    async def claim(self, partition: Partition, to: int) -> None:
        """Return when calls for offsets below `to` may begin, or the partition is given up."""
        partition.wanted_to = max(partition.wanted_to, to)
        if partition.claimed_to < to and partition.active:
            claimed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._claims.append((partition, to, claimed))
            self.add_counted(partition)
            await claimed

    async def claim_timers(self, partition: Partition, timers: Sequence[Timer]) -> bool:
        """Claim due timers; False if one has changed since it was read or changes in this flush, or the partition is given up."""
        one = _TimerClaim(partition, timers, asyncio.get_running_loop().create_future())
        self._timer_claims.append(one)
        self._wake.set()
        return await one.done

    def add_answer(self, delivery: Delivery, attempt: Attempt) -> None:
        """End a delivery whose call was settled as retrying by the answer to that call, unless a later attempt has begun."""
        self._late_answers.add(delivery, attempt)
        self._wake.set()

    async def settled(self) -> None:
        """Return when everything that is queued now is settled."""
        waits = bool(self._results or self._changed or self._late_answers)
        if not (waits or self._busy):
            return
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._idle.append((self._begun + waits, done))
        self._wake.set()
        await done

    def unsettled(self) -> tuple[int, float]:
        """How many results are not settled, and for how many seconds the oldest is not."""
        oldest = self._flushing or self._results
        age_s = time.monotonic() - oldest[0].at if oldest else 0.0
        return len(self._flushing) + len(self._results), age_s

    def flushing_s(self) -> float:
        """For how many seconds the present flush has been under way; 0 without one."""
        return time.monotonic() - self._began if self._busy else 0.0

    # -- Flush

    async def run(self) -> None:
        """Settle until cancelled. A cancellation at any point loses nothing: the next owner looks the claimed offsets up."""
        while True:
            await self._woken()
            # More results in one transaction cost less; the first after a pause is settled at once.
            await asyncio.sleep(self._next_flush_at - time.monotonic())
            self._wake.clear()
            self._busy = True
            self._begun += 1
            self._began = began = time.monotonic()
            self._next_flush_at = began + self._interval_s
            self._flushing, self._results = self._results, []
            changed = dict.fromkeys(result.delivery.partition for result in self._flushing) | self._changed
            self._changed = {}
            timer_claims, self._timer_claims = self._timer_claims, []
            changed |= dict.fromkeys(one.partition for one in timer_claims)
            await self._flush(changed, self._flushing, timer_claims)
            if self._late_answers and await self._late_answers.settle():
                self._periods.moved()
            took_s = max(time.monotonic() - began, self._interval_s)
            self._begun_a_second += 0.2 * (len(self._flushing) / took_s - self._begun_a_second)
            # Not before: until then its timer is as it was claimed, and would be claimed again.
            self._retrying.difference_update(one.delivery.key for one in self._flushing if one.delivery.entry is None)
            due_ms = min((one.due_ms for one in self._flushing if one.due_ms is not None), default=None)
            self._flushing = []
            self._busy = False
            self._notify()
            self._on_settled(due_ms)
            # After the flush: no call waits for it.
            await self._periods.follow(
                {ledger_id(self._role, self._role, one.number): one.number for one in changed if not one.fenced}
            )

    async def _woken(self) -> None:
        """Wait until there is something to settle, and seal sums whose period is over meanwhile."""
        while not self._wake.is_set():
            try:
                async with asyncio.timeout(self._periods.due_s()):
                    await self._wake.wait()
            except TimeoutError:
                await self._periods.seal_idle()

    async def _flush(
        self, changed: Iterable[Partition], results: Sequence[_Result], timer_claims: Sequence[_TimerClaim]
    ) -> None:
        late: dict[Partition, list[_Result]] = {}
        for result in results:
            if result.delivery.partition.fenced:
                late.setdefault(result.delivery.partition, []).append(result)
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
        await self._commit(list(planned.values()), claims)
        for one in timer_claims:
            if not one.done.done():
                one.done.set_result(False)
        for partition in planned:
            if partition.fenced:
                late[partition] = [one for one in results if one.delivery.partition is partition]
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

    async def _commit(self, settlements: list[Settlement], claims: list[_TimerClaim]) -> None:
        flush_id = new_flush_id()
        attempts = _SETTLE.attempts()
        strict = True
        first_began = time.monotonic()
        while settlements:
            began = time.monotonic()
            with_claims = _with_claims(settlements, claims)
            event_rows = self._events.rows_of(flush_id, [event for one in settlements for event in one.events])
            try:
                if attempts.failures and await self._store.is_committed(flush_id, settlements):
                    # By any of the attempts: since the first one another worker may have taken a partition over.
                    began = first_began
                    break
                await self._store.write(flush_id, with_claims, event_rows, strict=strict)
                break
            except TokenRefused as refused:
                if not refused.partitions:
                    await attempts.failed(StoreUnavailable("the flush is written, but not by a majority yet"))
                settlements = self._give_up(settlements, refused.partitions)
                claims = [one for one in claims if one.partition not in refused.partitions]
            except TimersChanged:
                if not claims:
                    log.error("a claimed timer has changed", extra={"action": "timer.changed", "role": self._role})
                    strict = False
                for one in claims:
                    one.done.set_result(False)
                claims = []
            except AttemptsExist:
                removed = await _LOOK_UP.call(self._store.without_stored, settlements)
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
            return
        attempts.succeeded()
        self._events.committed(event_rows)
        self._after_commit(flush_id, settlements, claims, began)

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

    def _after_commit(
        self, flush_id: str, settlements: Sequence[Settlement], claims: Sequence[_TimerClaim], began: float
    ) -> None:
        for settlement in settlements:
            partition = settlement.partition
            partition.last_flush = flush_id
            partition.claimed_to = settlement.claimed_to
            partition.proved_at = max(partition.proved_at, began)
            assert settlement.step is not None
            partition.committed(settlement.step)
            for ack_handle in settlement.step.acks:
                ack_handle.ack()
            if lost := settlement.step.counts.get("lost"):
                metrics.LOST.labels(self._role).inc(lost)
        for one in claims:
            one.done.set_result(True)
        ended: Counter[tuple[str, str]] = Counter()
        for result in self._flushing:
            if not result.delivery.partition.fenced:
                if result.due_ms is None:
                    state, reason = result.attempt.state, result.attempt.reason
                    ended[state.value, reason or ""] += 1
                    if self._on_end is not None:
                        self._on_end(result.delivery.message.category, state, reason)
                result.delivery.is_settled = True
        if self._spans is not None:
            self._record_spans(self._spans, began)
        for labels, count in ended.items():
            metrics.DELIVERIES.labels(self._channel, *labels).inc(count)

    def _record_spans(self, spans: DeliverySpans, began: float) -> None:
        traced = [
            (one.delivery.trace, one.delivery.message.trigger_id, one.delivery.number, one.attempt)
            for one in self._flushing
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

    def _notify(self) -> None:
        waiting, self._claims = self._claims, []
        for partition, to, claimed in waiting:
            if claimed.done():
                continue
            if partition.claimed_to >= to or not partition.active:
                claimed.set_result(None)
            else:
                self._claims.append((partition, to, claimed))
                self.add_counted(partition)
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
