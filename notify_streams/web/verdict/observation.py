"""What the rules look at: one region at one moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from notify_streams.roles import ROLES, WEBHOOKS
from notify_streams.settings import Settings
from notify_streams.web.ledger import Sums
from notify_streams.web.outbox import Backlog
from notify_streams.web.verdict.problem import ProblemCode
from notify_streams.web.verdict.region_status import WorkerStatus


@dataclass(frozen=True, slots=True)
class ServiceState:
    """A service that was asked."""

    #: Of its absence.
    code: ProblemCode
    #: "Kafka", "shard 1", "Redis", "DynamoDB"
    about: str
    #: Which service at which address, and what is wrong; None: it answers.
    fault: str | None = None
    #: It answers, and refuses us.
    refused: bool = False


@dataclass(frozen=True, slots=True)
class ProviderCalls:
    """The ends of the calls to one provider within the window."""

    #: How they ended → calls: "HTTP 503", "TimeoutError". Those that are about one message are counted as answered.
    answered: int = 0
    failed: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rates:
    """What happened within the last `window_s`, over all workers."""

    window_s: float
    providers: Mapping[str, ProviderCalls] = field(default_factory=dict)
    #: Channel → ended deliveries, and those of them that failed or expired although their address exists.
    ended: Mapping[str, int] = field(default_factory=dict)
    failed: Mapping[str, int] = field(default_factory=dict)
    triggers: int = 0
    #: Reason → triggers.
    dead: Mapping[str, int] = field(default_factory=dict)
    #: From a critical trigger's entry to the provider call; None: too few.
    critical_p50_s: float | None = None
    critical_p99_s: float | None = None


@dataclass(frozen=True, slots=True)
class Observation:
    """One region at one moment. None stands for what could not be read."""

    services: Sequence[ServiceState] = ()
    workers: Sequence[WorkerStatus] = ()
    #: Roles that the region needs.
    roles: Sequence[str] = ()
    ledger: Sums | None = None
    outbox: Backlog | None = None
    #: How long the oldest retry that is due has waited.
    overdue_s: float | None = None
    #: Role → records that it has not processed; now, and a minute ago.
    lag: Mapping[str, int] = field(default_factory=dict)
    lag_before: Mapping[str, int] = field(default_factory=dict)
    #: Role → records that Kafka deleted within the last half minute before the role had read them.
    lost: Mapping[str, int] = field(default_factory=dict)
    #: "shard 1", "worker push at …" → seconds that its clock is ahead of this machine's.
    clocks: Mapping[str, float] = field(default_factory=dict)
    rates: Rates | None = None


def needed_roles(settings: Settings) -> list[str]:
    """The roles of which the region needs a worker."""
    without = set()
    if not settings.remote_kafka:
        without.add("forward")
    if not settings.public.urls:
        without.add(WEBHOOKS)
    return [role for role in ROLES if role not in without]
