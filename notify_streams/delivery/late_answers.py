"""Settles answers to calls that were settled as retrying."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Final

from notify_streams import metrics
from notify_streams.delivery.attempts import Phase, attempt_document
from notify_streams.delivery.delivery_ledger import RESOLVED
from notify_streams.delivery.settlement import Answer
from notify_streams.records.outcomes import DeliveryState
from notify_streams.retry import STORE
from notify_streams.stores.command_parts import command_parts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from notify_streams.delivery.attempts import Attempt
    from notify_streams.delivery.event_outbox import EventOutbox
    from notify_streams.delivery.partition import Delivery, Partition
    from notify_streams.delivery.settlement import SettlementStore
    from notify_streams.outbox.flush_plan import OutboxRow

log = logging.getLogger(__name__)

_RESOLVE: Final = STORE.named("delivery.resolve")
#: Answers in one transaction.
_AT_ONCE: Final = 500
#: A flush waits so long for the answers of its partitions: they change the same ledgers.
_WAIT_S: Final = 0.25


class LateAnswers:
    """The late answers of one shard's partitions. One transaction for all that wait of a partition: they change the same ledger.

    A partition that cannot be written holds up no other: it has a task of its own.
    """

    def __init__(
        self,
        channel: str,
        store_of: Callable[[int], SettlementStore],
        events: EventOutbox,
        on_end: Callable[[str, DeliveryState, str | None], None] | None,
    ) -> None:
        """`store_of`: of the shard that has a bucket now. `on_end`: see `SettleLoop`."""
        #: Partitions that are being settled.
        self._settling: dict[Partition, asyncio.Task[None]] = {}
        self._channel = channel
        self._store_of = store_of
        self._events = events
        self._on_end = on_end
        self._waiting: deque[tuple[Delivery, Attempt]] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, delivery: Delivery, attempt: Attempt) -> None:
        """`attempt` ends this delivery, unless a later one has begun when it is settled.

        One that is `retrying` ends it for some devices: the timer keeps `delivery.record`, the message for the others.
        """
        self._waiting.append((delivery, attempt))

    def given_up(self) -> list[asyncio.Task[None]]:
        """The tasks that settle answers of partitions which are not owned any more."""
        return [task for partition, task in self._settling.items() if not partition.active]

    async def settle(self, tasks: asyncio.TaskGroup, on_settled: Callable[[bool], object]) -> None:
        """Begin to settle those whose call is settled as retrying, and wait a moment until they are.

        Args:
            tasks: for the tasks that settle them.
            on_settled: called with whether a delivery has ended, when those of a partition are settled.
        """
        ready: dict[Partition, list[tuple[Delivery, Attempt]]] = {}
        for _ in range(len(self._waiting)):
            one = self._waiting.popleft()
            partition = one[0].partition
            if partition.fenced and not one[0].is_settled and one[1].state is DeliveryState.RETRYING:
                continue  # there is no timer: the next owner makes the attempt
            if (one[0].is_settled or partition.fenced) and partition not in self._settling:
                ready.setdefault(partition, []).append(one)
            else:
                self._waiting.append(one)
        begun = [
            tasks.create_task(self._settle_all(partition, found, on_settled)) for partition, found in ready.items()
        ]
        self._settling.update(zip(ready, begun, strict=True))
        if begun:
            await asyncio.wait(begun, timeout=_WAIT_S)

    async def _settle_all(
        self,
        partition: Partition,
        found: Sequence[tuple[Delivery, Attempt]],
        on_settled: Callable[[bool], object],
    ) -> None:
        ended = 0
        for part in command_parts(found, _record_bytes, _AT_ONCE):
            ended += await self._settle(partition, part)
        del self._settling[partition]
        on_settled(ended > 0)

    async def _settle(self, partition: Partition, found: Sequence[tuple[Delivery, Attempt]]) -> int:
        number = partition.number
        answers = {
            delivery.key: Answer(
                delivery.key,
                delivery.number,
                attempt_document(
                    delivery.key,
                    number,
                    delivery.number,
                    Phase.ANSWER,
                    partition.token.random,
                    attempt,
                    delivery.traceparent,
                ),
                *_end_or_record(delivery, attempt),
            )
            for delivery, attempt in found
        }
        events = [
            self._events.event_of(one.message, number, attempt, one.number)
            for one, attempt in found
            if attempt.state is not DeliveryState.RETRYING
        ]
        rows = self._events.rows_of_ends(events)
        try:
            ended = await _RESOLVE.call(self._resolve, number, list(answers.values()), rows)
        except Exception as error:  # their timers are there: each is sent again, marked as a possible duplicate
            log.exception(
                "late answers could not be settled; their deliveries are repeated, marked",
                extra={"action": "answers.lost", "count": len(found), "error": type(error).__name__},
            )
            return 0
        self._events.committed(rows)
        self._count(attempt for delivery, attempt in found if delivery.key in ended)
        for delivery, attempt in found:
            if delivery.key in ended and self._on_end is not None:
                self._on_end(delivery.message.category, attempt.state, attempt.reason)
        return len(ended)

    async def _resolve(self, number: int, answers: Sequence[Answer], rows: Sequence[OutboxRow]) -> frozenset[bytes]:
        """On the shard that has the bucket now: it may move between two tries."""
        return await self._store_of(number).resolve(number, answers, rows)

    def _count(self, ends: Iterable[Attempt]) -> None:
        for one in ends:
            metrics.DELIVERIES.labels(self._channel, one.state.value, one.reason or "").inc()


def _end_or_record(delivery: Delivery, attempt: Attempt) -> tuple[str | None, bytes | None]:
    """`counted` and `record` of the `Answer`."""
    if attempt.state is DeliveryState.RETRYING:
        return None, delivery.record
    return RESOLVED[attempt.state], None


def _record_bytes(answer: tuple[Delivery, Attempt]) -> int:
    delivery, attempt = answer
    return len(delivery.record) if attempt.state is DeliveryState.RETRYING else 0
