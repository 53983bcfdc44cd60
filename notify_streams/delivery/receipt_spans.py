"""Spans of receipts: children of the calls that they are about."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

from notify_streams.delivery.attempts import delivery_key, number_of
from notify_streams.errors import StoreUnavailable
from notify_streams.records.ids import split_delivery_id
from notify_streams.tracing.trace_context import TRACEPARENT, parse_traceparent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from notify_streams.delivery.attempt_reader import AttemptReader
    from notify_streams.delivery.receipts import Receipt
    from notify_streams.stores.mongo import Document
    from notify_streams.tracing.spans import Spans


class ReceiptSpans:
    """Records ``receipt`` for each receipt of a traced delivery. Only for those its attempts are read."""

    def __init__(self, spans: Spans, reader: AttemptReader) -> None:
        self._spans = spans
        self._reader = reader

    async def add(self, receipts: Sequence[tuple[Document, Receipt]], began_ns: int) -> None:
        """`receipts` are stored, each with its notification. Without the call, the parent is the outbox of the trigger."""
        ended_ns = time.time_ns()
        for notification, receipt in receipts:
            parent = parse_traceparent(notification.get(TRACEPARENT))
            if parent is None:
                continue
            call = parse_traceparent(await self._call(notification, receipt))
            self._spans.add(
                "receipt",
                (call or parent).child(),
                call or parent,
                began_ns,
                ended_ns,
                kind="consumer",
                error=receipt.reason or receipt.state if receipt.state == "failed" else None,
                notify__trigger_id=notification["trigger_id"],
                notify__channel=split_delivery_id(receipt.delivery_id)[1],
                notify__attempt=receipt.attempt,
                notify__state=receipt.state,
                notify__reason=receipt.reason,
                notify__provider=receipt.provider,
                notify__code=receipt.code,
                notify__provider_time=receipt.at.isoformat(timespec="milliseconds"),
            )

    async def _call(self, notification: Document, receipt: Receipt) -> str | None:
        """The span of the call; None if it is not stored yet, or cannot be read now."""
        key = delivery_key(receipt.delivery_id, notification["decided_at"].timestamp())
        with suppress(StoreUnavailable):
            documents = await self._reader.documents(notification["bucket"], [key])
            calls = {number_of(one["_id"]): one[TRACEPARENT] for one in documents if TRACEPARENT in one}
            return calls.get(receipt.attempt) or calls.get(max(calls, default=0))
        return None
