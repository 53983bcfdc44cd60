"""The flushes of one shard: answers that are lost."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from notify_streams.delivery.attempts import Attempt, Rank
from notify_streams.delivery.delivery_ledger import OwnedLedger, Token
from notify_streams.delivery.partition import Delivery, Entry, Partition
from notify_streams.delivery.settle_loop import SettleLoop
from notify_streams.delivery.settlement import Settlement, TokenRefused
from notify_streams.errors import StoreUnavailable
from notify_streams.tasks import stop
from tests.builders import AckRecorder, a_message
from tests.waiting import until

SENT = Attempt(Rank.SENT, 1_795_000_000_000, None, "fcm", "p-1")


@dataclass
class Ledger:
    token: Token
    next_offset: int = 0
    last_flush: str | None = None
    counts: Counter[str] = field(default_factory=Counter)
    #: The keys of attempts in the order in which they were stored.
    attempts: list[bytes] = field(default_factory=list)


class Store:
    """Ledgers of one shard in memory; a flush is written as a whole or not at all, as `SettlementStore` does."""

    def __init__(self) -> None:
        self.ledgers: dict[int, Ledger] = {}
        #: Flushes that are committed without an answer.
        self.lost_answers = 0
        #: How often `is_committed` says no although the flush is committed.
        self.not_visible = 0
        self.writes: list[tuple[str, list[int]]] = []

    async def write(
        self, flush_id: str, settlements: Sequence[Settlement], event_rows: Sequence[Any] = (), *, strict: bool = True
    ) -> None:
        self.writes.append((flush_id, [one.partition.number for one in settlements]))
        await asyncio.sleep(0)
        self._commit(flush_id, settlements)
        if self.lost_answers:
            self.lost_answers -= 1
            raise StoreUnavailable("no answer")

    def _commit(self, flush_id: str, settlements: Sequence[Settlement]) -> None:
        refused = [one for one in settlements if not self._is_next(one)]
        if refused:
            raise TokenRefused(
                frozenset(one.partition for one in refused if self.ledgers[one.partition.number].last_flush != flush_id)
            )
        for one in settlements:
            ledger = self.ledgers[one.partition.number]
            assert one.step is not None
            ledger.next_offset, ledger.last_flush = one.step.end, flush_id
            ledger.counts.update(one.step.counts)
            ledger.attempts += [attempt["_id"] for attempt in one.attempts]

    def _is_next(self, settlement: Settlement) -> bool:
        partition, ledger = settlement.partition, self.ledgers[settlement.partition.number]
        assert settlement.step is not None
        step = (ledger.token, ledger.next_offset, ledger.last_flush)
        return step == (partition.token, settlement.step.start, partition.last_flush)

    async def is_committed(self, flush_id: str, settlements: Sequence[Settlement]) -> bool:
        await asyncio.sleep(0)
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

    def committed(self, rows: Collection[Any]) -> None:
        assert not rows


class Periods:
    def due_s(self) -> None:
        return None

    async def follow(self, ledgers: Any) -> None:
        return


class Loop:
    """A settle loop whose partitions are owned."""

    def __init__(self) -> None:
        self.store = Store()
        self.partitions: dict[int, Partition] = {}
        self.refused: list[Partition] = []
        self.acknowledged: dict[int, list[AckRecorder]] = {}
        used: Any = (self.store, Events(), Late(), Periods())
        store, events, late, periods = used
        self.loop = SettleLoop(
            "push",
            "push",
            store,
            events,
            late,
            lambda partition, ends, events: self.refused.append(partition),
            lambda due_ms: None,
            None,
            set(),
            0.001,
            periods,
        )

    def own(self, *numbers: int) -> None:
        for number in numbers:
            token = Token(1)
            self.store.ledgers[number] = Ledger(token)
            self.partitions[number] = Partition(OwnedLedger(number, 0, 0, {}, None), token, 0, time.monotonic())
            self.acknowledged[number] = []

    def sent(self, number: int) -> Delivery:
        """The next message of a partition was sent: a batch of its own, whose call has ended."""
        partition = self.partitions[number]
        offset = partition.read_to
        entry = Entry(offset, key=b"%d-%d" % (number, offset))
        handle = AckRecorder()
        self.acknowledged[number].append(handle)
        partition.add(offset + 1, 0, [entry], handle)
        message = a_message(delivery_id=f"n{number}-{offset}:push", notification_id=f"n{number}-{offset}")
        delivery = Delivery(partition, entry.key, message, b"", entry)
        self.loop.add(delivery, SENT, None)
        return delivery

    def settled(self, number: int) -> int:
        """How many batches of a partition are acknowledged."""
        return sum(one.acknowledged for one in self.acknowledged[number])


class Late:
    def __len__(self) -> int:
        return 0


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
