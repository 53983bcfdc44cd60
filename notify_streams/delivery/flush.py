"""What one flush writes: results of calls, their timers and events, claims."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from notify_streams.delivery.attempts import Attempt, Phase, Rank, attempt_document
from notify_streams.delivery.delivery_ledger import RESOLVED
from notify_streams.delivery.timers import arm, claim, drop, new_timer, rearm

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence

    from notify_streams.delivery.event_outbox import EventOutbox
    from notify_streams.delivery.partition import Delivery, Partition
    from notify_streams.delivery.settlement import Settlement
    from notify_streams.delivery.timers import Timer
    from notify_streams.records.batch import OutboxRecord
    from notify_streams.stores.mongo import Document


@dataclass(slots=True, eq=False)
class Result:
    """How an attempt ended."""

    delivery: Delivery
    attempt: Attempt
    #: When the next attempt is due, milliseconds since the epoch; None: the delivery has ended.
    due_ms: int | None
    #: When it was queued (monotonic).
    at: float


@dataclass(slots=True, eq=False)
class TimerClaim:
    """Due timers of one partition whose attempts will begin."""

    partition: Partition
    timers: Sequence[Timer]
    done: asyncio.Future[bool]


@dataclass(slots=True, eq=False)
class Flush:
    """What one transaction writes."""

    id: str
    settlements: list[Settlement]
    claims: list[TimerClaim]
    results: Sequence[Result]
    #: When it was planned (monotonic).
    began: float

    def with_claims(self) -> list[Settlement]:
        """The settlements with the statements of the claims."""
        found = {
            one.partition: replace(one, changed=list(one.changed), counts=dict(one.counts)) for one in self.settlements
        }
        for one in self.claims:
            settlement = found.get(one.partition)
            if settlement is None:
                continue
            for timer in one.timers:
                settlement.changed.append(claim(timer, one.partition.token))
                if timer.replay and timer.claim is None:
                    settlement.count("replayed")
        return list(found.values())


class FlushPlan:
    """Makes the documents of results."""

    def __init__(self, role: str, events: EventOutbox) -> None:
        self._role = role
        self._events = events

    def add(self, settlement: Settlement, result: Result) -> None:
        """Settle a result."""
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

    def evidence(self, results: Sequence[Result]) -> tuple[list[Document], list[OutboxRecord]]:
        """How calls ended whose partition has another owner, and their events. Only ends: the owner decides about the next attempt."""
        ends = [one for one in results if one.due_ms is None and one.attempt.rank != Rank.SUPPRESSED]
        events = [event for one in ends if (event := self._event(one)) is not None]
        return [self._document(one) for one in ends], events

    def _event(self, result: Result) -> OutboxRecord | None:
        delivery = result.delivery
        return self._events.event_of(delivery.message, delivery.partition.number, result.attempt, delivery.number)

    def _document(self, result: Result) -> Document:
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

    def _timer(self, result: Result, due_ms: int) -> Document:
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
