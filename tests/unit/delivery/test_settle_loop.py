"""The flushes of one shard: answers that are lost, and partitions whose writes are refused."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from notify_streams.delivery.attempts import Attempt, Rank
from notify_streams.delivery.delivery_ledger import OwnedLedger, Token
from notify_streams.delivery.late_answers import LateAnswers
from notify_streams.delivery.partition import Delivery, Entry, Partition
from notify_streams.delivery.settle_loop import SettleLoop
from notify_streams.delivery.settlement import Answer, Settlement, TokenRefused
from notify_streams.errors import StoreUnavailable
from notify_streams.stores.command_parts import COMMAND_BYTES
from notify_streams.tasks import stop
from tests.builders import AckRecorder, a_message
from tests.waiting import until

RETRYING = Attempt(Rank.RETRYING, 1_795_000_000_000, None, "fcm", None)
SENT = Attempt(Rank.SENT, 1_795_000_000_000, None, "fcm", "p-1")


@dataclass
class Ledger:
    token: Token
    next_offset: int = 0
    last_flush: str | None = None
    counts: Counter[str] = field(default_factory=Counter)
    #: The ids of attempts as they were stored; they are in the order of their offsets.
    attempts: list[bytes] = field(default_factory=list)


class Store:
    """Ledgers of one shard in memory; a flush is written as a whole or not at all, as `SettlementStore` does."""

    def __init__(self) -> None:
        self.ledgers: dict[int, Ledger] = {}
        #: Partitions whose writes are refused.
        self.blocked: set[int] = set()
        #: Flushes that are committed without an answer.
        self.lost_answers = 0
        #: How often `is_committed` says no although the flush is committed.
        self.not_visible = 0
        self.writes: list[tuple[str, list[int]]] = []
        #: The sizes of the messages that each write arms a timer for.
        self.timers: list[list[int]] = []
        #: The parts in which late answers were settled.
        self.resolved: list[tuple[int, list[bytes]]] = []
        self.looks = 0
        #: `is_committed` has no answer.
        self.silent = False
        self._refused: dict[str, Sequence[Settlement]] = {}

    async def write(
        self, flush_id: str, settlements: Sequence[Settlement], event_rows: Sequence[Any] = (), *, strict: bool = True
    ) -> None:
        self.writes.append((flush_id, [one.partition.number for one in settlements]))
        self.timers.append([len(timer["u"]["record"]) for one in settlements for timer in one.armed])
        await asyncio.sleep(0)
        if self.blocked & {one.partition.number for one in settlements}:
            self._refused[flush_id] = list(settlements)
            raise StoreUnavailable("DocumentValidationFailure")
        self._commit(flush_id, settlements)
        if self.lost_answers:
            self.lost_answers -= 1
            raise StoreUnavailable("no answer")

    def _commit(self, flush_id: str, settlements: Sequence[Settlement]) -> None:
        if not all(map(self._is_next, settlements)):
            matched = {one.partition for one in settlements if self._is_next(one) or self._is_written(one, flush_id)}
            raise TokenRefused(frozenset(one.partition for one in settlements) - matched)
        for one in settlements:
            ledger = self.ledgers[one.partition.number]
            assert one.step is not None
            ledger.next_offset, ledger.last_flush = one.step.end, flush_id
            ledger.counts.update(one.step.counts)
            ledger.attempts += [attempt["_id"] for attempt in one.attempts]

    async def resolve(self, number: int, answers: Sequence[Answer], event_rows: Sequence[Any] = ()) -> frozenset[bytes]:
        await asyncio.sleep(0)
        if number in self.blocked:
            raise StoreUnavailable("DocumentValidationFailure")
        self.resolved.append((number, [one.key for one in answers]))
        return frozenset(one.key for one in answers)

    def _is_written(self, settlement: Settlement, flush_id: str) -> bool:
        ledger = self.ledgers[settlement.partition.number]
        return ledger.token is settlement.partition.token and ledger.last_flush in (flush_id, settlement.whole_id)

    def commit(self, flush_id: str) -> None:
        """Commit a write that was refused: its answer was wrong."""
        self._commit(flush_id, self._refused[flush_id])

    def _is_next(self, settlement: Settlement) -> bool:
        partition, ledger = settlement.partition, self.ledgers[settlement.partition.number]
        assert settlement.step is not None
        step = (ledger.token, ledger.next_offset, ledger.last_flush)
        return step == (partition.token, settlement.step.start, partition.last_flush)

    async def is_committed(self, flush_id: str, settlements: Sequence[Settlement]) -> bool:
        self.looks += 1
        await asyncio.sleep(0)
        if self.silent:
            raise StoreUnavailable("no answer")
        found = any(self.ledgers[one.partition.number].last_flush == flush_id for one in settlements)
        if found and self.not_visible:
            self.not_visible -= 1
            return False
        return found


class Events:
    def event_of(self, *_: Any) -> None:
        return None

    def rows_of(self, *_: Any) -> list[Any]:
        return []

    def rows_of_ends(self, *_: Any) -> list[Any]:
        return []

    def committed(self, rows: Collection[Any]) -> None:
        assert not rows


class Periods:
    def due_s(self) -> None:
        return None

    def moved(self) -> None:
        return

    async def follow(self, ledgers: Any) -> None:
        return


class Loop:
    """A settle loop whose partitions are owned."""

    def __init__(self) -> None:
        self.store = Store()
        self.partitions: dict[int, Partition] = {}
        self.refused: list[Partition] = []
        #: How many ends of calls were reported with them.
        self.stored = 0
        #: As it was reported after each flush.
        self.earliest_due: list[int | None] = []
        self.acknowledged: dict[int, list[AckRecorder]] = {}
        used: Any = (self.store, Events(), Periods())
        store, events, periods = used
        self.loop = SettleLoop(
            "push",
            "push",
            store,
            events,
            LateAnswers("push", lambda bucket: store, events, None),
            self._on_refused,
            self.earliest_due.append,
            None,
            set(),
            0.001,
            periods,
        )

    def _on_refused(self, partition: Partition, ends: Sequence[Any], events: Sequence[Any]) -> None:
        self.refused.append(partition)
        self.stored += len(ends)

    def own(self, *numbers: int) -> None:
        for number in numbers:
            token = Token(1)
            self.store.ledgers[number] = Ledger(token)
            self.partitions[number] = Partition(OwnedLedger(number, 0, 0, {}, None), token, 0, time.monotonic())
            self.acknowledged[number] = []

    def sent(self, number: int) -> Delivery:
        """The next message of a partition was sent: a batch of its own, whose call has ended."""
        delivery = self.next(number)
        self.loop.add(delivery, SENT, None)
        return delivery

    def retried(self, number: int, record: bytes = b"") -> Delivery:
        """The next message of a partition, `record`, waits for another attempt."""
        delivery = self.next(number, record)
        self.loop.add(delivery, RETRYING, 1_795_000_001_000)
        return delivery

    def next(self, number: int, record: bytes = b"") -> Delivery:
        partition = self.partitions[number]
        offset = partition.read_to
        entry = Entry(offset, key=b"%08d%08d" % (number, offset))
        handle = AckRecorder()
        self.acknowledged[number].append(handle)
        partition.add(offset + 1, 0, [entry], handle)
        message = a_message(delivery_id=f"n{number}-{offset}:push", notification_id=f"n{number}-{offset}")
        return Delivery(partition, entry.key, message, record, entry)

    def settled(self, number: int) -> int:
        """How many batches of a partition are acknowledged."""
        return sum(one.acknowledged for one in self.acknowledged[number])


@asynccontextmanager
async def running(*numbers: int) -> AsyncIterator[Loop]:
    one = Loop()
    one.own(*numbers)
    task = asyncio.create_task(one.loop.run())
    try:
        yield one
    finally:
        assert not task.done(), "it settles until it is cancelled"
        await stop([task])


async def test_a_flush_whose_answer_was_lost_proves_the_token_when_it_began() -> None:
    """Another worker may have replaced the token since, so the next call must be preceded by another proof."""
    async with running(0) as one:
        one.store.lost_answers = 1
        one.sent(0)
        await until(lambda: one.store.writes)
        lost_at = time.monotonic()
        one.store.ledgers[0].token = Token(2)
        await until(lambda: one.settled(0) == 1)
        assert one.partitions[0].proved_at <= lost_at
    assert one.store.ledgers[0].counts["sent"] == 1


async def test_a_flush_moves_no_proof_back() -> None:
    async with running(0) as one:
        one.store.lost_answers = 1
        one.sent(0)
        await until(lambda: one.store.writes)
        read_at = one.partitions[0].proved_at = time.monotonic()
        await until(lambda: one.settled(0) == 1)
        assert one.partitions[0].proved_at == read_at


async def test_a_commit_that_no_majority_has_yet_is_looked_for_with_pauses() -> None:
    async with running(0) as one:
        one.store.lost_answers, one.store.not_visible = 1, 5
        one.sent(0)
        began = time.monotonic()
        await until(lambda: one.settled(0) == 1)
        assert time.monotonic() - began > 0.2, "five looks without a pause"
    assert len({flush_id for flush_id, _ in one.store.writes}) == 1
    assert one.store.ledgers[0].counts["sent"] == 1 and not one.refused


async def test_a_partition_that_cannot_be_written_holds_up_no_other() -> None:
    async with running(0, 1) as one:
        one.store.blocked = {0}
        one.sent(0)
        for count in range(1, 4):
            one.sent(1)
            await until(partial(has_settled, one, 1, count))
        assert one.settled(0) == 0 and one.loop.unsettled()[0] == 0, "its results are not those that stop its shard"
        assert one.partitions[0].blocked and not one.partitions[1].blocked
        one.sent(0)
        one.store.blocked = set()
        await until(partial(has_settled, one, 0, 2))
        assert not one.partitions[0].blocked
    ledger = one.store.ledgers[0]
    assert ledger.counts["sent"] == 2 and ledger.next_offset == 2 and len(set(ledger.attempts)) == 2
    assert ledger.attempts == sorted(ledger.attempts), "its later results come after its earlier ones"
    assert not one.refused


async def test_a_partition_alone_in_a_flush_is_repeated_apart_too() -> None:
    async with running(0, 1) as one:
        one.store.blocked = {0}
        one.sent(0)
        await until(lambda: one.store.writes)
        one.sent(1)
        await until(partial(has_settled, one, 1, 1))


async def test_a_divided_flush_that_was_committed_after_all_is_counted_once() -> None:
    """The answer to "was it committed" was no, because its commit was still under way."""
    async with running(0, 1) as one:
        one.store.blocked = {0, 1}
        one.sent(0)
        one.sent(1)
        await until(lambda: one.partitions[1].blocked)
        whole_id, numbers = one.store.writes[0]
        assert sorted(numbers) == [0, 1]
        one.store.blocked = set()
        one.store.commit(whole_id)
        await until(lambda: one.settled(0) == one.settled(1) == 1)
        one.sent(0)
        await until(partial(has_settled, one, 0, 2))
    assert [one.store.ledgers[number].counts["sent"] for number in (0, 1)] == [2, 1] and not one.refused


async def test_a_blocked_partition_with_another_owner_is_given_up() -> None:
    async with running(0, 1) as one:
        one.store.blocked = {0}
        one.sent(0)
        await until(lambda: one.partitions[0].blocked)
        one.sent(0)
        one.store.ledgers[0].token = Token(2)
        one.store.blocked = set()
        await until(lambda: one.stored == 2, "how both calls ended is stored")
        assert one.partitions[0].fenced and set(one.refused) == {one.partitions[0]}
        assert not one.partitions[0].active, "no call of it begins any more"
        async with asyncio.timeout(5):
            await one.loop.claim(one.partitions[0], 10_000)  # and none waits to begin
        one.sent(1)
        await until(partial(has_settled, one, 1, 1))
    assert one.store.ledgers[0].counts["sent"] == 0 and one.settled(0) == 0


async def test_who_waits_for_a_claim_goes_on_when_the_partition_has_another_owner() -> None:
    async with running(0) as one:
        one.store.ledgers[0].token = Token(2)
        async with asyncio.timeout(5):
            await one.loop.claim(one.partitions[0], 1_000)
        assert not one.partitions[0].active


async def test_another_message_of_a_delivery_is_a_duplicate_until_the_outcome_is_durable_and_looked_up_then() -> None:
    async with running(0) as one:
        one.store.blocked = {0}
        delivery, partition = one.next(0), one.partitions[0]
        assert delivery.entry is not None and partition.open(delivery.entry)
        one.loop.add(delivery, SENT, None)
        await until(lambda: partition.blocked)
        again = Entry(1, key=delivery.key)
        assert not partition.open(again)
        one.store.blocked = set()
        await until(partial(has_settled, one, 0, 1))
        assert partition.open(again), "a partition keeps no delivery that has an outcome"


async def test_no_call_begins_and_no_timer_is_claimed_while_a_partition_is_blocked() -> None:
    async with running(0, 1) as one:
        one.store.blocked = {0}
        partition = one.partitions[0]
        waiting = asyncio.create_task(one.loop.claim(partition, 1_000))
        timers = asyncio.create_task(one.loop.claim_timers(partition, []))
        assert (await waiting, await timers) == (False, False), "they do not wait for it"
        assert not await one.loop.claim(partition, 0) and not await one.loop.claim_timers(partition, [])
        assert await one.loop.claim(one.partitions[1], 1_000) and await one.loop.claim_timers(one.partitions[1], [])
        one.store.blocked = set()
        await until(lambda: not partition.blocked)
        assert await one.loop.claim(partition, 1_000) and await one.loop.claim_timers(partition, [])
    assert one.earliest_due[-1] is None and 0 in one.earliest_due, "its timers are looked for again"


async def test_who_waits_for_everything_waits_for_a_blocked_partition_only_if_it_is_given_up() -> None:
    async with running(0, 1) as one:
        one.store.blocked = {0}
        one.sent(0)
        await until(lambda: one.partitions[0].blocked)
        one.sent(1)
        await asyncio.wait_for(one.loop.settled(), 5)
        one.partitions[0].active = False
        waiting = asyncio.create_task(one.loop.settled())
        await asyncio.sleep(0.05)
        assert not waiting.done()
        one.store.blocked = set()
        await asyncio.wait_for(waiting, 5)
        assert one.settled(0) == 1


async def test_an_outage_divides_no_flush() -> None:
    """It is not known whether the flush was committed, and no partition could be written alone either."""
    async with running(0, 1) as one:
        one.store.blocked, one.store.silent = {0, 1}, True
        one.sent(0)
        one.sent(1)
        await until(lambda: one.store.looks == 3)
        assert len(one.store.writes) == 1 and not one.partitions[0].blocked
        one.store.blocked, one.store.silent = set(), False
        await until(lambda: one.settled(0) == one.settled(1) == 1)
    assert len({flush_id for flush_id, _ in one.store.writes}) == 1


async def test_late_answers_of_a_partition_that_cannot_be_written_hold_up_no_other() -> None:
    async with running(0, 1) as one:
        waiting = [one.retried(number) for number in (0, 1)]
        await until(lambda: one.settled(0) == one.settled(1) == 1)
        one.store.blocked = {0}
        for delivery in waiting:
            one.loop.add_answer(delivery, SENT)
        await until(lambda: one.store.resolved, "those of the other partition")
        for count in range(2, 5):
            one.sent(1)
            await until(partial(has_settled, one, 1, count))
        one.loop.add_answer(later := one.next(0), SENT)
        later.is_settled = True
        one.store.blocked = set()
        await until(lambda: len(one.store.resolved) == 3)
    first, second = waiting
    assert one.store.resolved == [(1, [second.key]), (0, [first.key]), (0, [later.key])]


async def test_who_waits_for_everything_waits_for_late_answers_of_a_partition_that_is_given_up() -> None:
    async with running(0) as one:
        delivery = one.retried(0)
        await until(lambda: one.settled(0) == 1)
        one.store.blocked = {0}
        one.partitions[0].active = False
        one.loop.add_answer(delivery, SENT)
        waiting = asyncio.create_task(one.loop.settled())
        await asyncio.sleep(0.5)
        assert not waiting.done(), "also when no flush waits for them any more"
        one.store.blocked = set()
        await asyncio.wait_for(waiting, 5)
        assert one.store.resolved == [(0, [delivery.key])]


async def test_messages_that_wait_for_another_attempt_are_settled_in_parts_that_a_command_takes() -> None:
    """A provider's outage: the driver sends no command of more than 16 MB, as often as the flush is repeated."""
    async with running(0) as one:
        for _ in range(9):
            one.retried(0, bytes(COMMAND_BYTES // 4))
        one.sent(0)
        await asyncio.wait_for(one.loop.settled(), 5)
        assert one.settled(0) == 10, "it waits for each part"
    assert [len(timers) for timers in one.store.timers] == [4, 4, 1]
    assert one.store.ledgers[0].counts == {"taken": 10, "fresh": 10, "retrying": 9, "sent": 1}


def has_settled(one: Loop, number: int, count: int) -> bool:
    return one.settled(number) == count
