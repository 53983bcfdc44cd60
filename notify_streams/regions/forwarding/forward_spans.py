"""Spans of triggers on their way to another region."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from notify_streams.records.origin import entered_ms
from notify_streams.regions.forwarding.headers import is_trigger
from notify_streams.tracing.trace_context import TraceContext, new_trace, read_traceparent
from notify_streams.tracing.traced_record import on_its_way
from notify_streams.transport import RecordBatch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from notify_streams.records.batch import Batch
    from notify_streams.tracing.spans import Spans


class _Forwarded(NamedTuple):
    parent: TraceContext
    span: TraceContext
    entered_ms: int
    offset: int


class ForwardTraces(NamedTuple):
    """Those of one batch."""

    began_ns: int
    triggers: Sequence[_Forwarded]


class ForwardSpans:
    """Of one region's queues: ``forward`` for each traced trigger, from its time in this region's Kafka until the other region has it."""

    def __init__(self, spans: Spans, region: str) -> None:
        self._spans = spans
        self._region = region

    def begin(self, batch: Batch) -> tuple[Batch, ForwardTraces | None]:
        """The batch to send, whose traced triggers name their span here as the parent of what follows there."""
        found = []
        records = list(batch.records)
        for index, record in enumerate(batch.records):
            parent = read_traceparent(record.headers) if record.headers else None
            if parent is None or not parent.sampled or not is_trigger(record.headers):
                continue
            span = parent.child()
            records[index] = on_its_way(record, span)
            found.append(_Forwarded(parent, span, entered_ms(record), record.offset))
        if not found:
            return batch, None
        sent = RecordBatch(batch.topic, batch.partition, batch.start, batch.end, records, batch.lost)
        return sent, ForwardTraces(time.time_ns(), found)

    def end(self, batch: Batch, traces: ForwardTraces | None) -> None:
        """The other region has the batch. It joins many triggers: ``send`` is a trace of its own, with links."""
        if traces is None:
            return
        ended_ns = time.time_ns()
        send = new_trace()
        for one in traces.triggers:
            self._spans.add(
                "forward",
                one.span,
                one.parent,
                one.entered_ms * 1_000_000,
                ended_ns,
                kind="producer",
                links=[send],
                messaging__system="kafka",
                messaging__destination__name=batch.topic,
                messaging__destination__partition__id=str(batch.partition),
                messaging__kafka__offset=one.offset,
                notify__to=self._region,
            )
        self._spans.add(
            "send",
            send,
            None,
            traces.began_ns,
            ended_ns,
            kind="client",
            links=[one.span for one in traces.triggers],
            notify__to=self._region,
            notify__records=len(batch.records),
        )
