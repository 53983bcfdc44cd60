"""Group commit of attempts for the partitions of one shard.

One flush at a time; the next one takes everything queued meanwhile. A flush that stays refused is divided: each partition is settled in
a flush of its own, as soon as it can be written, and the others go on.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from notify_streams.delivery.flush import Flush, FlushPlan, Result, TimerClaim
from notify_streams.delivery.flush_writer import FlushWriter
from notify_streams.delivery.settlement import Settlement
from notify_streams.records.ids import ledger_id, new_flush_id
from notify_streams.stores.command_parts import command_parts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from notify_streams.delivery.attempts import Attempt
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

#: No call begins while more results than this are not settled, or one is older than `MAX_UNSETTLED_S`.
MAX_UNSETTLED: Final = 512
MAX_UNSETTLED_S: Final = 1.0
#: Offsets are claimed ahead for the calls of so many seconds.
_AHEAD_S: Final = 0.5


@dataclass(slots=True, eq=False)
class _Alone:
    """A partition that is settled in a flush of its own."""

    settling: asyncio.Task[None]
    #: The next flush has them, after that one.
    results: list[Result] = field(default_factory=list)


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
        self._plan = FlushPlan(role, events)
        self._writer = FlushWriter(role, channel, store, events, on_end, spans)
        self._late_answers = late_answers
        self._on_refused = on_refused
        self._on_settled = on_settled
        self._retrying = retrying
        self._interval_s = interval_s
        self._periods = periods
        self._results: list[Result] = []
        self._flushing: list[Result] = []
        self._changed: dict[Partition, None] = {}
        self._claims: list[tuple[Partition, int, asyncio.Future[None]]] = []
        self._timer_claims: list[TimerClaim] = []
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
        result = Result(delivery, attempt, due_ms, time.monotonic())
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
        one = TimerClaim(partition, timers, asyncio.get_running_loop().create_future())
        self._timer_claims.append(one)
        self._wake.set()
        return await one.done

    def add_answer(self, delivery: Delivery, attempt: Attempt) -> None:
        """End a delivery whose call was settled as retrying by the answer to that call, unless a later attempt has begun."""
        self._late_answers.add(delivery, attempt)
        self._wake.set()

    async def settled(self) -> None:
        """Return when everything that is queued now is settled, without that of blocked partitions that are not given up."""
        while True:
            alone = [one.settling for partition, one in self._alone.items() if not partition.active]
            if ending := alone + self._late_answers.given_up():
                await asyncio.wait(ending)
            flushes = sum(1 for _ in _in_flushes(self._results)) or bool(self._changed or self._late_answers)
            if flushes or self._busy:
                done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                self._idle.append((self._begun + flushes, done))
                self._wake.set()
                await done
            if not self._late_answers.given_up():
                return

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
        """`settling`: for the tasks that settle a partition alone, or late answers."""
        self._wake.clear()
        self._busy = True
        self._begun += 1
        self._began = began = time.monotonic()
        self._next_flush_at = began + self._interval_s
        self._flushing = list(next(_in_flushes(self._results), ()))
        self._results = self._results[len(self._flushing) :]
        if self._results:
            self._wake.set()
        count = len(self._flushing)
        changed = dict.fromkeys(result.delivery.partition for result in self._flushing) | self._changed
        self._changed = {}
        timer_claims, self._timer_claims = self._timer_claims, []
        changed |= dict.fromkeys(one.partition for one in timer_claims)
        for partition in self._alone:
            changed.pop(partition, None)
        flush = self._plan_flush(changed, timer_claims, began)
        planned = [one.partition for one in flush.settlements]
        for rest in await self._writer.commit(flush, divisible=True):
            self._settle_alone(settling, flush, rest)
        for one in timer_claims:
            if not one.done.done():
                one.done.set_result(False)
        self._refuse_fenced(planned, self._flushing)
        if self._late_answers:
            await self._late_answers.settle(settling, self._answers_settled)
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

    def _answers_settled(self, has_ends: bool) -> None:
        """The late answers of a partition are settled; more of it may wait."""
        if has_ends:
            self._periods.moved()
        if self._late_answers:
            self._wake.set()

    def _ended(self, results: Sequence[Result]) -> None:
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

    def _plan_flush(self, changed: Iterable[Partition], timer_claims: Sequence[TimerClaim], began: float) -> Flush:
        results = self._flushing
        planned = {one: Settlement(one) for one in changed if not one.fenced}
        for result in results:
            if (settlement := planned.get(result.delivery.partition)) is not None:
                self._plan.add(settlement, result)
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
        return Flush(new_flush_id(), list(planned.values()), claims, results, began)

    def _settle_alone(self, settling: asyncio.TaskGroup, whole: Flush, settlement: Settlement) -> None:
        """Settle a partition in a flush of its own; nothing else of it is settled or begins until then."""
        partition = settlement.partition
        settlement.whole_id = whole.id
        results = [one for one in self._flushing if one.delivery.partition is partition]
        self._flushing = [one for one in self._flushing if one.delivery.partition is not partition]
        flush = Flush(new_flush_id(), [settlement], [], results, whole.began)
        partition.blocked = True
        log.warning(
            "a flush is refused, each of its partitions is settled alone",
            extra={"action": "settle.alone", "role": self._role, "partition": partition.number},
        )
        queued = [one for one in self._results if one.delivery.partition is partition]
        self._results = [one for one in self._results if one.delivery.partition is not partition]
        self._alone[partition] = _Alone(settling.create_task(self._commit_alone(flush, partition)), queued)

    async def _commit_alone(self, flush: Flush, partition: Partition) -> None:
        await self._writer.commit(flush, divisible=False)
        partition.blocked = False
        self._results = self._alone.pop(partition).results + self._results
        self._refuse_fenced([partition], flush.results)
        self.add_counted(partition)
        self._ended(flush.results)
        # It may have timers that were due meanwhile.
        self._on_settled(0)

    def _refuse_fenced(self, partitions: Iterable[Partition], results: Sequence[Result]) -> None:
        """Report those of the partitions, and of those of the results, that have another owner."""
        late: dict[Partition, list[Result]] = {one: [] for one in partitions if one.fenced and not one.blocked}
        for result in results:
            if result.delivery.partition.fenced:
                late.setdefault(result.delivery.partition, []).append(result)
        for partition, found in late.items():
            self._on_refused(partition, *self._plan.evidence(found))

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


def _in_flushes(results: Sequence[Result]) -> Iterator[Sequence[Result]]:
    """What each of the next flushes writes of these."""
    return command_parts(results, _timer_bytes)


def _timer_bytes(result: Result) -> int:
    return 0 if result.due_ms is None else len(result.delivery.record)
