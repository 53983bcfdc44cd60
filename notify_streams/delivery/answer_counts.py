"""Counts the ends of provider calls by status and code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from notify_streams import metrics

if TYPE_CHECKING:
    from prometheus_client import Counter

    from notify_streams.delivery.providers import ProviderResult

#: A provider that answers with ever new codes must not fill the memory.
_MAX_KINDS: Final = 200
_OTHER: Final = "other"


class AnswerCounts:
    """Keeps the counter of each kind of answer, because looking one up costs as much as a tenth of a call."""

    def __init__(self) -> None:
        self._counters: dict[tuple[str, str, str, str], Counter] = {}

    def add(self, result: ProviderResult) -> None:
        """Count one end of a call."""
        kind = result.provider, result.outcome.value, result.detail.partition(",")[0], result.code or ""
        counter = self._counters.get(kind)
        if counter is None:
            if len(self._counters) >= _MAX_KINDS:
                kind = result.provider, result.outcome.value, _OTHER, _OTHER
            counter = self._counters[kind] = metrics.PROVIDER_ANSWERS.labels(*kind)
        counter.inc()
        if result.unknown_code:
            metrics.PROVIDER_UNKNOWN_CODES.labels(result.provider).inc()
