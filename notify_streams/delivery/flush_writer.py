"""Writes a flush until it is committed, then applies it to its partitions."""

from __future__ import annotations

import logging
import time
from collections import Counter
from typing import TYPE_CHECKING, Final

from notify_streams import metrics
from notify_streams.delivery.settlement import AttemptsExist, TimersChanged, TokenRefused
from notify_streams.errors import StoreUnavailable, UnknownFailure
from notify_streams.retry import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from notify_streams.delivery.delivery_spans import DeliverySpans
    from notify_streams.delivery.event_outbox import EventOutbox
    from notify_streams.delivery.flush import Flush, Result
    from notify_streams.delivery.partition import Partition
    from notify_streams.delivery.settlement import Settlement, SettlementStore
    from notify_streams.records.outcomes import DeliveryState

log = logging.getLogger(__name__)

_SETTLE: Final = RetryPolicy("delivery.settle", first_s=0.05, max_s=2.0)
_LOOK_UP: Final = RetryPolicy("delivery.look_up_stored", first_s=0.05, max_s=2.0)
#: After so many failures of writes a flush is divided.
_MAX_WHOLE_FAILURES: Final = 2


class FlushWriter:
    """Writes flushes to one shard."""

    def __init__(
        self,
        role: str,
        channel: str,
        store: SettlementStore,
        events: EventOutbox,
        on_end: Callable[[str, DeliveryState, str | None], None] | None,
        spans: DeliverySpans | None,
    ) -> None:
        """`on_end`, `spans`: see `SettleLoop`."""
        self._role = role
        self._channel = channel
        self._store = store
        self._events = events
        self._on_end = on_end
        self._spans = spans

    async def commit(self, flush: Flush, *, divisible: bool) -> list[Settlement]:
        """Write a flush, as often as it needs; returns the settlements of one that is to be divided."""
        attempts = _SETTLE.attempts()
        strict = True
        refused_writes = 0
        while flush.settlements:
            began = time.monotonic()
            with_claims = flush.with_claims()
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

    async def _committed_id(self, flush: Flush) -> str | None:
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

    def _after_commit(self, flush: Flush, committed_id: str, began: float) -> None:
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

    def _record_spans(self, spans: DeliverySpans, results: Sequence[Result], began: float) -> None:
        traced = [
            (one.delivery.trace, one.delivery.message.trigger_id, one.delivery.number, one.attempt)
            for one in results
            if one.delivery.trace is not None and one.delivery.is_settled
        ]
        if traced:
            ended_ns = time.time_ns()
            spans.settled(traced, ended_ns - int((time.monotonic() - began) * 1e9), ended_ns)
