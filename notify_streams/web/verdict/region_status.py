"""The answer of `/region`: verdict, workers, totals and charts."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

from notify_streams.web.summary import Summary
from notify_streams.web.verdict.problem import Verdict

WorkerState = Literal["ready", "waiting", "stuck", "gone"]


class WorkerStatus(msgspec.Struct, frozen=True):
    """One worker that has registered itself."""

    #: The same from its start to its end.
    id: str
    role: str
    host: str
    port: int
    #: None: not known.
    partitions: int | None
    version: str
    started_at: datetime | None
    #: Its last sign of life; None: there was none yet.
    seen_at: datetime | None
    state: WorkerState
    #: Why it is not ready.
    reasons: list[str]
    #: None: it does not answer.
    summary: Summary | None


class Series(msgspec.Struct, frozen=True):
    """One line of a chart: the last hour, one point every 10 s."""

    #: triggers, deliveries, failures, lag, outbox, critical_p50, critical_p99
    name: str
    #: "/s", "records", "rows", "s"
    unit: str
    #: As ``{"lane": "critical"}``.
    labels: dict[str, str]
    #: Unix time in seconds, ascending; None: not known.
    points: list[tuple[int, float | None]]


class Totals(msgspec.Struct, frozen=True):
    """Counts since the region was created, from the ledgers in MongoDB. They do not shrink because a worker is away."""

    #: When they were read; None: never yet.
    at: datetime | None
    #: All rows were read, and each adds up; None: not known.
    closes: bool | None
    #: Outcome of triggers → count; also `taken`, `holes`, `lost`.
    triggers: dict[str, int]
    #: Channel → state (sent, failed, suppressed, expired, open) → count.
    deliveries: dict[str, dict[str, int]]
    dead_reasons: dict[str, int]
    #: Of the outbox, now; None: not known.
    outbox_rows: int | None
    outbox_oldest_s: float | None
    #: Role → records that it has not processed.
    lag: dict[str, int]


class RegionStatus(msgspec.Struct, frozen=True):
    """Everything that the page shows. No personal data."""

    region: str
    verdict: Verdict
    workers: list[WorkerStatus]
    totals: Totals
    series: list[Series]
