"""Counts and logs records that cannot be used."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from notify_streams import metrics

if TYPE_CHECKING:
    from notify_streams.records.trigger import Rejection

log = logging.getLogger(__name__)


def reject(topic: str, offset: int, rejection: Rejection) -> None:
    """Count one record in `notify_rejected_records_total` and log where it is."""
    metrics.REJECTED_RECORDS.labels(topic, rejection.reason.value).inc()
    log.warning(
        "record rejected",
        extra={"action": "record.reject", "topic": topic, "offset": offset, "detail": rejection.detail},
    )
