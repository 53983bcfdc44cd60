"""Observations for the tests of the rules: `a_region(outbox=…)` differs from a healthy one in that alone."""

from __future__ import annotations

from typing import Any

import msgspec

from notify_streams.delivery.provider_state import ProviderState
from notify_streams.web.ledger import Sums
from notify_streams.web.outbox import Backlog
from notify_streams.web.summary import Summary
from notify_streams.web.verdict.observation import Observation, ProviderCalls, Rates, ServiceState
from notify_streams.web.verdict.problem import ProblemCode
from notify_streams.web.verdict.region_status import WorkerStatus

TIMES = {"count": 0, "mean_ms": None, "p50_ms": None, "p99_ms": None, "largest_ms": 10000.0}


def a_summary(**but: Any) -> Summary:
    usual: dict[str, Any] = {
        "region": "us",
        "role": "push",
        "version": "1",
        "uptime_s": 100.0,
        "health": {"live": True, "ready": True, "stuck": [], "waiting_for": [], "tables": []},
        "lag": 0,
        "partitions": 8,
        "redis_trusted": True,
        "unreachable": [],
        "triggers": {},
        "dead_letters": {},
        "deliveries": [],
        "decision": TIMES,
        "to_provider": {},
        "providers": {},
    }
    return msgspec.convert(usual | but, Summary)


def a_worker(role: str = "push", host: str = "127.0.0.3", port: int = 6071, **but: Any) -> WorkerStatus:
    """Ready; `summary` may be given as the fields in which it differs."""
    given = but.pop("summary", {})
    summary = None if given is None else a_summary(role=role, **given)
    usual: dict[str, Any] = {"partitions": 8, "version": "1", "started_at": None, "seen_at": None}
    usual |= {"state": "ready", "reasons": []}
    return WorkerStatus(id=f"{role}-{port}", role=role, host=host, port=port, summary=summary, **(usual | but))


def with_provider(state: str, provider: str = "fcm", **but: Any) -> WorkerStatus:
    """A worker of the role push whose provider is in this state."""
    known = ProviderState(provider, state, 0.0, 0, **but)
    return a_worker(summary={"provider_state": msgspec.to_builtins(known)})


def some_sums(*open_rows: str) -> Sums:
    return Sums(not open_rows, True, 8, list(open_rows), {}, {}, {})


def a_backlog(rows: int, oldest_s: float) -> Backlog:
    return Backlog(rows, oldest_s, [])


def some_rates(**but: Any) -> Rates:
    return Rates(**({"window_s": 30.0, "triggers": 300} | but))


def calls(answered: int = 0, **failed: int) -> ProviderCalls:
    """`HTTP_503=7`: seven calls that ended with HTTP 503."""
    return ProviderCalls(answered, {end.replace("_", " "): count for end, count in failed.items()})


def down(code: ProblemCode, about: str, *, refused: bool = False) -> ServiceState:
    return ServiceState(code, about, f"{about} at 127.0.0.1:1 does not respond within 2 s", refused)


def a_region(**but: Any) -> Observation:
    usual: dict[str, Any] = {
        "services": [ServiceState(ProblemCode.KAFKA_DOWN, "Kafka"), ServiceState(ProblemCode.SHARD_DOWN, "shard 0")],
        "workers": [a_worker("standard", port=6067), with_provider("closed")],
        "roles": ["standard", "push"],
        "ledger": some_sums(),
        "outbox": a_backlog(3, 0.2),
        "overdue_s": 0.0,
        "lag": {"standard": 20},
        "lag_before": {"standard": 10},
        "clocks": {"shard 0": 0.01, "worker push at 127.0.0.3:6071": -0.02},
        "rates": some_rates(providers={"fcm": calls(400, HTTP_503=2)}, ended={"push": 400}, failed={"push": 3}),
    }
    return Observation(**(usual | but))
