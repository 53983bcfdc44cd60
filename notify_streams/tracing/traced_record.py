"""A trigger's record whose trace is recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from notify_streams.tracing.trace_context import TRACEPARENT

if TYPE_CHECKING:
    from notify_streams.records.batch import Headers, SourceRecord
    from notify_streams.tracing.trace_context import TraceContext


class TriggerTrace(msgspec.Struct, frozen=True, gc=False):
    """The spans of one trigger in one region, which are recorded when its outcome is published."""

    #: From the record's time in Kafka to the publication.
    trigger: TraceContext
    #: From the decision to the publication: the parent of what follows.
    outbox: TraceContext
    #: The span of the sender; None: it gave none.
    parent: TraceContext | None
    #: None: the record could not be read.
    trigger_id: str | None


class TracedRecord(msgspec.Struct, frozen=True, gc=False):
    """A `SourceRecord` in whose headers the span of the outbox takes the place of the sender's: so its copies have it."""

    key: bytes | None
    value: bytes | None
    headers: Headers
    offset: int
    timestamp: int
    #: None: nothing is recorded here when its outcome is published.
    trace: TriggerTrace | None

    @property
    def traceparent(self) -> str:
        """That of the outbox; empty if nothing is recorded."""
        return "" if self.trace is None else self.trace.outbox.traceparent


def traced(record: SourceRecord, trace: TriggerTrace) -> TracedRecord:
    """The record in a trace."""
    return _with(record, trace.outbox, trace)


def without_sampled_flag(record: SourceRecord, sender: TraceContext) -> TracedRecord:
    """The record of a sender whose trace is not recorded from here on."""
    return on_its_way(record, sender.not_sampled())


def on_its_way(record: SourceRecord, span: TraceContext) -> TracedRecord:
    """The record with `span` as the parent of what follows."""
    return _with(record, span, None)


def _with(record: SourceRecord, context: TraceContext, trace: TriggerTrace | None) -> TracedRecord:
    headers = with_traceparent(record.headers, context)
    return TracedRecord(record.key, record.value, headers, record.offset, record.timestamp, trace)


def traceparent_of(record: SourceRecord) -> str:
    """What a message that follows from the record carries; empty if the record is not traced."""
    return record.traceparent if isinstance(record, TracedRecord) else ""


def with_traceparent(headers: Headers, context: TraceContext) -> Headers:
    """The headers with `context` in place of another one."""
    kept = [header for header in headers if header[0] != TRACEPARENT] if headers else []
    return (*kept, (TRACEPARENT, context.traceparent.encode()))
