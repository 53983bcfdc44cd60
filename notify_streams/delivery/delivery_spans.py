"""Spans of traced deliveries: `deliver` for each attempt, `call` for each call."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import msgspec

from notify_streams.delivery.providers import ProviderOutcome
from notify_streams.records.outcomes import DeliveryState
from notify_streams.tracing.trace_context import new_trace, parse_traceparent

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from notify_streams.delivery.attempts import Attempt
    from notify_streams.delivery.providers import Outgoing, ProviderResult
    from notify_streams.records.channel_message import ChannelMessage
    from notify_streams.roles import Channel
    from notify_streams.tracing.spans import Spans
    from notify_streams.tracing.trace_context import TraceContext

_FAILED: Final = (DeliveryState.FAILED, DeliveryState.EXPIRED, DeliveryState.RETRYING)


class DeliveryTrace:
    """The spans of one attempt."""

    __slots__ = ("_called", "_calls", "_spans", "began_ns", "deliver", "parent")

    def __init__(self, spans: DeliverySpans, parent: TraceContext, began_ns: int) -> None:
        self._spans = spans
        #: The outbox that published the message.
        self.parent = parent
        #: From the message's time in Kafka, or the time at which the attempt was due, to its durable outcome.
        self.deliver = parent.child()
        self.began_ns = began_ns
        self._calls = 0
        self._called = self.deliver

    @property
    def traceparent(self) -> str:
        """For the stored attempt, as the parent of its receipts: the call, if there was one alone."""
        return (self._called if self._calls == 1 else self.deliver).traceparent

    def call(self, outgoing: Outgoing, provider: str) -> CallSpan:
        """The span of a call that begins now."""
        return CallSpan(self, self.deliver.child(), outgoing, provider)

    def ended(self, call: CallSpan, number: int, result: ProviderResult) -> None:
        self._calls += 1
        self._called = call.context
        self._spans.add_call(self, call, number, result)

    def sends_to(self, provider: str) -> bool:
        return provider in self._spans.send_to


class CallSpan:
    """The span of one call."""

    __slots__ = ("_trace", "began_ns", "context", "outgoing")

    def __init__(self, trace: DeliveryTrace, context: TraceContext, outgoing: Outgoing, provider: str) -> None:
        self._trace = trace
        self.context = context
        #: What to send.
        self.outgoing = outgoing
        if trace.sends_to(provider):
            self.outgoing = msgspec.structs.replace(outgoing, traceparent=context.traceparent)
        self.began_ns = time.time_ns()

    def ended(self, number: int, result: ProviderResult) -> None:
        """Record it; `number`: of the attempt."""
        self._trace.ended(self, number, result)


class DeliverySpans:
    """The spans of one channel role."""

    def __init__(self, spans: Spans, channel: Channel, send_to: Collection[str]) -> None:
        """`send_to`: providers that get the header `traceparent`."""
        self._spans = spans
        self._channel = channel
        self.send_to = send_to

    def begin(self, message: ChannelMessage, began_ns: int) -> DeliveryTrace | None:
        """The spans of an attempt; None: the trigger is not traced."""
        parent = parse_traceparent(message.traceparent) if message.traceparent else None
        return None if parent is None else DeliveryTrace(self, parent, began_ns)

    def add_call(self, trace: DeliveryTrace, call: CallSpan, number: int, result: ProviderResult) -> None:
        self._spans.add(
            "call",
            call.context,
            trace.deliver,
            call.began_ns,
            time.time_ns(),
            kind="client",
            error=None if result.outcome is ProviderOutcome.ACCEPTED else result.outcome.value,
            notify__provider=result.provider,
            notify__attempt=number,
            notify__outcome=result.outcome.value,
            notify__answer=result.detail or None,
            notify__code=result.code,
        )

    def settled(self, ended: Sequence[tuple[DeliveryTrace, str, int, Attempt]], began_ns: int, ended_ns: int) -> None:
        """Record the attempts that one transaction made durable: trace, trigger id, number and attempt of each.

        It joins many: ``settle`` is a trace of its own, with links.
        """
        settle = new_trace()
        for trace, trigger_id, number, attempt in ended:
            self._spans.add(
                "deliver",
                trace.deliver,
                trace.parent,
                trace.began_ns,
                ended_ns,
                kind="consumer",
                links=[settle],
                error=attempt.state.value if attempt.state in _FAILED else None,
                notify__trigger_id=trigger_id,
                notify__channel=self._channel,
                notify__attempt=number,
                notify__state=attempt.state.value,
                notify__reason=attempt.reason,
            )
        links = [trace.deliver for trace, _, _, _ in ended]
        self._spans.add("settle", settle, None, began_ns, ended_ns, links=links, notify__attempts=len(ended))
