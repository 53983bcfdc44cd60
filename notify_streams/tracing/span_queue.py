"""Sends ended spans from a thread of its own.

The SDK's own processor waits up to 30 s for its thread when the process ends, and does not count what it drops.
"""

from __future__ import annotations

import logging
from collections import deque
from threading import Event, Thread
from typing import TYPE_CHECKING, Final

from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace.export import SpanExportResult

from notify_streams import metrics

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter

log = logging.getLogger(__name__)

#: Spans of one request.
_BATCH: Final = 512
_EVERY_S: Final = 1.0


class SpanQueue(SpanProcessor):
    """At most `limit` spans wait. While the endpoint does not answer, further ones are dropped and counted; nothing waits for it."""

    def __init__(self, exporter: SpanExporter, limit: int) -> None:
        self._exporter = exporter
        self._limit = limit
        self._spans: deque[ReadableSpan] = deque()
        self._wake = Event()
        self._stopping = False
        self._failing = False
        self._thread = Thread(target=self._run, name="spans", daemon=True)
        self._thread.start()

    def on_end(self, span: ReadableSpan) -> None:
        if len(self._spans) >= self._limit:
            metrics.SPANS.labels("dropped").inc()
            return
        self._spans.append(span)
        if len(self._spans) == _BATCH:
            self._wake.set()

    def close(self, within_s: float) -> None:
        """Send what waits, if the endpoint takes it in that time. Blocks."""
        self._stopping = True
        self._wake.set()
        self._thread.join(within_s)
        self._exporter.shutdown()

    def _run(self) -> None:
        while not self._stopping:
            self._wake.wait(_EVERY_S)
            self._wake.clear()
            self._send_all()

    def _send_all(self) -> None:
        while self._spans:
            batch = [self._spans.popleft() for _ in range(min(_BATCH, len(self._spans)))]
            try:
                is_sent = self._exporter.export(batch) is SpanExportResult.SUCCESS
            except Exception:  # a defect of the exporter must not end the thread
                log.exception("spans could not be sent", extra={"action": "spans.defect"})
                is_sent = False
            metrics.SPANS.labels("sent" if is_sent else "failed").inc(len(batch))
            self._log(is_sent)

    def _log(self, is_sent: bool) -> None:
        """One line when spans begin to be lost, and one when they are sent again."""
        if is_sent and self._failing:
            log.info("the tracing endpoint takes spans again", extra={"action": "spans.recover"})
        elif not is_sent and not self._failing and not self._stopping:
            log.warning(
                "the tracing endpoint does not take spans; they are dropped until it does",
                extra={"action": "spans.fail"},
            )
        self._failing = not is_sent
