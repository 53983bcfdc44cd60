"""Which triggers of a batch are traced."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Final

from notify_streams import metrics
from notify_streams.outbox.decided_batch import DecisionTimes
from notify_streams.records.trigger import Rejection
from notify_streams.tracing.trace_context import new_trace, read_traceparent
from notify_streams.tracing.traced_record import TriggerTrace, traced, without_sampled_flag

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from notify_streams.records.batch import SourceRecord
    from notify_streams.records.trigger import Trigger
    from notify_streams.settings_tracing import TracingSettings
    from notify_streams.tracing.trace_context import TraceContext

    _Read = tuple[SourceRecord, Trigger | Rejection]

_TRACED: Final = metrics.TRACED_TRIGGERS.labels("traced")
_LIMITED: Final = metrics.TRACED_TRIGGERS.labels("limited")


class TriggerTraces:
    """Puts `TracedRecord` in place of the records of triggers that are traced, at most `max_triggers_per_s`.

    A trigger with `traceparent` is traced if its sampled flag is set; one without, or with one that is not valid, by `sample_ratio`.
    """

    def __init__(self, settings: TracingSettings, now: Callable[[], float] = time.monotonic) -> None:
        self._ratio = settings.sample_ratio
        self._per_s = settings.max_triggers_per_s
        self._now = now
        self._left = float(self._per_s)
        self._at = now()

    def begin(self, triggers: Sequence[_Read]) -> tuple[Sequence[_Read], DecisionTimes | None]:
        """The triggers, and when their decision begins; None: none is traced."""
        found = list(triggers)
        began: DecisionTimes | None = None
        for index, (record, trigger) in enumerate(triggers):
            parent = read_traceparent(record.headers) if record.headers else None
            if not (parent.sampled if parent is not None else self._ratio and random.random() < self._ratio):
                continue
            if not self._allowed():
                _LIMITED.inc()
                if parent is not None:
                    found[index] = without_sampled_flag(record, parent), trigger
                continue
            _TRACED.inc()
            if began is None:
                began = DecisionTimes(time.time_ns())
            found[index] = traced(record, _trace(parent, trigger)), trigger
        return found, began

    def _allowed(self) -> bool:
        now = self._now()
        self._left = min(float(self._per_s), self._left + (now - self._at) * self._per_s)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


def _trace(parent: TraceContext | None, trigger: Trigger | Rejection) -> TriggerTrace:
    own = new_trace() if parent is None else parent.child()
    return TriggerTrace(own, own.child(), parent, None if isinstance(trigger, Rejection) else trigger.id)
