"""Counts the ends of provider calls by status and code."""

from __future__ import annotations

from collections import Counter as Counts
from typing import TYPE_CHECKING, Final

from notify_streams import metrics
from notify_streams.delivery.providers import ProviderOutcome

if TYPE_CHECKING:
    from prometheus_client import Counter

    from notify_streams.delivery.providers import ProviderResult

#: Of one provider: if it answers with ever new codes, as the server that a push subscription names may, it must neither fill the memory nor
#: hide what the others answer.
_MAX_KINDS: Final = 200
_OTHER: Final = "other"


class AnswerCounts:
    """Keeps the counter of each kind of answer, because looking one up costs as much as a tenth of a call."""

    def __init__(self) -> None:
        self._counters: dict[tuple[str, str, str, str], Counter] = {}
        self._kinds: Counts[str] = Counts()

    def add(self, result: ProviderResult) -> None:
        """Count one end of a call."""
        answer = result.detail.partition(",")[0]
        if result.outcome is ProviderOutcome.TOO_LARGE and not result.begun:
            answer = result.outcome.value  # the detail has the size, and each message another one
        kind = result.provider, result.outcome.value, answer, result.code or ""
        counter = self._counters.get(kind)
        if counter is None:
            self._kinds[result.provider] += 1
            if self._kinds[result.provider] > _MAX_KINDS:
                kind = result.provider, result.outcome.value, _OTHER, _OTHER
            counter = self._counters[kind] = metrics.PROVIDER_ANSWERS.labels(*kind)
        counter.inc()
        if result.unknown_code:
            metrics.PROVIDER_UNKNOWN_CODES.labels(result.provider).inc()
