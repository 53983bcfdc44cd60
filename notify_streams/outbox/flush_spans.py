"""Spans of flushes, and of the traced triggers in them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from notify_streams.records.origin import entered_ms
from notify_streams.records.outcomes import TriggerOutcome
from notify_streams.tracing.trace_context import new_trace
from notify_streams.tracing.traced_record import TracedRecord

if TYPE_CHECKING:
    from collections.abc import Sequence

    from notify_streams.outbox.decided_batch import DecidedBatch, RecordOutcome
    from notify_streams.tracing.spans import Spans
    from notify_streams.tracing.trace_context import TraceContext
    from notify_streams.tracing.traced_record import TriggerTrace


class FlushSpans:
    """Records what a flush did, when its records are published.

    A traced trigger has the spans ``trigger`` (child of the sender's), ``decide`` and ``outbox`` (children of ``trigger``). The flush joins
    many triggers, so it is a trace of its own, with the spans ``commit`` and ``publish``: ``outbox`` and ``flush`` link to each other.
    """

    def __init__(self, spans: Spans, shard: int) -> None:
        self._spans = spans
        self._shard = shard

    def add(self, batches: Sequence[DecidedBatch], began_ns: int, committed_ns: int) -> None:
        """Record nothing if no trigger of these batches is traced."""
        found = [
            (entry.record, entry.record.trace, entry, batch)
            for batch in batches
            if batch.traced is not None
            for entry in batch.entries
            if isinstance(entry.record, TracedRecord) and entry.record.trace is not None
        ]
        if not found:
            return
        published_ns = time.time_ns()
        flush = new_trace()
        for record, trace, entry, batch in found:
            self._add_trigger(record, trace, entry, batch, flush, published_ns)
        self._spans.add(
            "flush",
            flush,
            None,
            began_ns,
            published_ns,
            links=[trace.outbox for _, trace, _, _ in found],
            notify__shard=self._shard,
            notify__triggers=sum(len(batch.entries) for batch in batches),
            notify__traced_triggers=len(found),
        )
        self._spans.add("commit", flush.child(), flush, began_ns, committed_ns)
        self._spans.add("publish", flush.child(), flush, committed_ns, published_ns)

    def _add_trigger(
        self,
        record: TracedRecord,
        trace: TriggerTrace,
        entry: RecordOutcome,
        batch: DecidedBatch,
        flush: TraceContext,
        published_ns: int,
    ) -> None:
        times, add = batch.traced, self._spans.add
        assert times is not None
        add(
            "trigger",
            trace.trigger,
            trace.parent,
            entered_ms(record) * 1_000_000,
            published_ns,
            kind="consumer",
            error=entry.reason if entry.outcome is TriggerOutcome.DEAD else None,
            messaging__system="kafka",
            messaging__destination__name=batch.topic,
            messaging__destination__partition__id=str(batch.partition),
            messaging__kafka__offset=record.offset,
            notify__trigger_id=trace.trigger_id,
            notify__outcome=entry.outcome.value,
        )
        add("decide", trace.trigger.child(), trace.trigger, times.began_ns, times.ended_ns)
        add("outbox", trace.outbox, trace.trigger, times.ended_ns, published_ns, kind="producer", links=[flush])
