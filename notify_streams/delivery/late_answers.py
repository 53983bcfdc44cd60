"""Settles answers to calls that were settled as retrying."""

from __future__ import annotations

import logging
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Final

from notify_streams import metrics
from notify_streams.delivery.attempts import Phase, attempt_document
from notify_streams.delivery.delivery_ledger import RESOLVED
from notify_streams.delivery.settlement import Answer
from notify_streams.records.outcomes import DeliveryState
from notify_streams.retry import STORE

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


class LateAnswers:
    """The late answers of one shard's partitions. One transaction for all that wait of a partition: they change the same ledger."""

    def __init__(
        self,
        channel: str,
        store_of: Callable[[int], SettlementStore],
        events: EventOutbox,
        on_end: Callable[[str, DeliveryState, str | None], None] | None,
    ) -> None:
        """`store_of`: of the shard that has a bucket now. `on_end`: see `SettleLoop`."""
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

    async def settle(self) -> bool:
        """Settle those whose call is settled as retrying; returns whether a delivery has ended."""
        ready: dict[Partition, list[tuple[Delivery, Attempt]]] = {}
        for _ in range(len(self._waiting)):
            one = self._waiting.popleft()
            partition = one[0].partition
            if partition.fenced and not one[0].is_settled and one[1].state is DeliveryState.RETRYING:
                continue  # there is no timer: the next owner makes the attempt
            if one[0].is_settled or partition.fenced:
                ready.setdefault(partition, []).append(one)
            else:
                self._waiting.append(one)
        ended = 0
        for partition, found in ready.items():
            rest = iter(found)
            while part := list(islice(rest, _AT_ONCE)):
                ended += await self._settle(partition, part)
        return ended > 0

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
