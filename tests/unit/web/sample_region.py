"""A region's status, for tests of its page."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from notify_streams.delivery.provider_state import ProviderState
from notify_streams.roles import LANES, ROLES
from notify_streams.web.metric_readers import Times
from notify_streams.web.summary import Health, Summary
from notify_streams.web.verdict.problem import PastProblem, Problem, ProblemCode, Verdict
from notify_streams.web.verdict.region_status import RegionStatus, Series, Totals, WorkerStatus

NOW = datetime(2026, 11, 28, 3, 4, 5, tzinfo=UTC)
FAST = Times(10, 0.1, 0.1, 1.0, 100.0)
WELL = Health(live=True, ready=True, stuck=[], waiting_for=[], tables=[])

KAFKA = Problem(
    ProblemCode.KAFKA_DOWN,
    "Kafka",
    "Kafka at 10.0.0.4:9092 does not answer: connection refused.",
    NOW - timedelta(minutes=4, seconds=12),
    "Bring Kafka back; workers go on by themselves. `notify-streams doctor` says more.",
    "notifykafkasilent",
    "bad",
)
REDIS = msgspec.structs.replace(
    KAFKA, code=ProblemCode.REDIS_DOWN, about="Redis", text="Redis does not answer.", severity="warn"
)
PAST = PastProblem(
    ProblemCode.PROVIDER_FAILING,
    "provider fcm",
    "97 % of the calls to fcm end with HTTP 503.",
    NOW - timedelta(minutes=40),
    NOW - timedelta(minutes=38, seconds=30),
    "Look at the provider's status page.",
    "notifyproviderstopped",
    "bad",
)


def a_summary(role: str = "standard", **but: Any) -> Summary:
    summary = Summary(
        "us", role, "0.1.0", 61.0, WELL, 7, 8, True, [], {}, {}, [], FAST, {"critical": FAST}, {"fcm": FAST}
    )
    return msgspec.structs.replace(summary, **but)


def a_worker(role: str = "standard", **but: Any) -> WorkerStatus:
    port = 6066 + (ROLES.index(role) if role in ROLES else 99)
    providers = {"fcm": FAST} if role.endswith("push") else {}
    state = ProviderState("fcm", "closed", 0.0, 3) if providers else None
    summary = a_summary(role, providers=providers, provider_state=state)
    started = NOW - timedelta(hours=26)
    worker = WorkerStatus(
        f"id-{role}", role, "10.0.0.7", port, 8, "0.1.0", started, NOW - timedelta(seconds=2), "ready", [], summary
    )
    return msgspec.structs.replace(worker, **but)


def a_series(name: str, unit: str, labels: dict[str, str], largest: float, *, gap: bool = False) -> Series:
    """An hour that rises and falls."""
    last = int(NOW.timestamp()) // 10 * 10
    points: list[tuple[int, float | None]] = []
    for place in range(360):
        known = not (gap and 200 <= place < 230)
        points.append((last - (359 - place) * 10, round(largest * math.sin(place / 115) ** 2, 3) if known else None))
    return Series(name, unit, labels, points)


def all_series() -> list[Series]:
    return [
        *(a_series("triggers", "/s", {"lane": lane}, 900 - 600 * place) for place, lane in enumerate(LANES)),
        *(
            a_series("deliveries", "/s", {"channel": channel, "state": state}, 1_500 / (1 + place))
            for place, channel in enumerate(("push", "email", "sms"))
            for state in ("sent", "failed")
        ),
        *(a_series("failures", "/s", {"kind": kind}, 0.4) for kind in ("failed", "expired", "dead_letter")),
        *(a_series("lag", "records", {"role": role}, 40_000 / (1 + place)) for place, role in enumerate(ROLES[:9])),
        a_series("outbox", "rows", {}, 1_200, gap=True),
        a_series("critical_p50", "s", {}, 0.03),
        a_series("critical_p99", "s", {}, 0.4),
    ]


def some_totals(**but: Any) -> Totals:
    triggers = {"taken": 1_204_411, "notified": 1_101_900, "forwarded": 61_007, "repartitioned": 11, "duplicate": 1_480}
    triggers |= {"waiting": 13, "dead": 40_000, "holes": 3, "lost": 0}
    states = {"sent": 1_100_210, "failed": 412, "suppressed": 30_001, "expired": 12, "open": 4}
    dead = {"not_json": 39_000, "unknown_user": 1_000}
    totals = Totals(
        NOW, True, triggers, {"push": states, "sms": states, "email": states}, dead, 0, 0.0, {"push": 1_204}
    )
    return msgspec.structs.replace(totals, **but)


def a_status(now: list[Problem] | None = None, **but: Any) -> RegionStatus:
    """A region without problems now, and with one in the last hour."""
    problems = now or []
    verdict = Verdict(NOW, problems[0].text if problems else "Everything works.", problems, [PAST])
    status = RegionStatus("us", verdict, [a_worker(role) for role in ROLES], some_totals(), all_series())
    return msgspec.structs.replace(status, **but)


def a_bad_status() -> RegionStatus:
    """Kafka and Redis are down, a worker is gone and one is stuck."""
    gone = a_worker("push", state="gone", reasons=["its address refuses connections"], summary=None, partitions=None)
    stuck = a_worker(
        "critical", state="stuck", reasons=["triggers.security-3 stands still at offset 4,711 since 03:01:02"]
    )
    waits = a_worker("registry", state="waiting", reasons=["preferences: 10 rows", "shard 1 does not answer"])
    return a_status([KAFKA, REDIS], workers=[a_worker("views"), gone, stuck, waits], totals=some_totals(closes=False))
