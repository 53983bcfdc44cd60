"""What a worker tells of itself: health, counts and times since its start."""

from __future__ import annotations

import msgspec

from notify_streams.delivery.provider_state import ProviderState
from notify_streams.web.metric_readers import Times


class Recovery(msgspec.Struct, frozen=True):
    """The recovery of one table on this worker."""

    table: str
    rows: int
    remaining: int
    rows_per_s: float
    #: None until something was read.
    estimate_s: float | None
    caught_up: bool


class Health(msgspec.Struct, frozen=True):
    """Liveness and readiness of one worker."""

    #: False if this process itself is stuck and a restart helps.
    live: bool
    #: Whether it works and nothing is wrong around it.
    ready: bool
    #: Descriptions of what is stuck; empty if the worker is live.
    stuck: list[str]
    #: What is wrong or not yet there; empty if the worker is ready.
    waiting_for: list[str]
    tables: list[Recovery]


class EndedDeliveries(msgspec.Struct, frozen=True):
    """The number of deliveries of one channel with the same end."""

    channel: str
    state: str
    reason: str | None
    count: int


class ProviderEnds(msgspec.Struct, frozen=True):
    """The number of calls to one provider with the same end."""

    provider: str
    #: `ProviderOutcome`
    outcome: str
    #: The status, or the type of the network error: "HTTP 503", "TimeoutError"
    end: str
    count: int


class StalledPart(msgspec.Struct, frozen=True):
    """A partition or table that has made no progress for some time, although it could."""

    what: str
    reason: str
    for_s: float


class LinkState(msgspec.Struct, frozen=True):
    """Another region, to which this worker forwards."""

    region: str
    #: Since when it has accepted nothing; 0 while it accepts.
    failing_s: float


class Summary(msgspec.Struct, frozen=True):
    """Counts and times of this process since its start."""

    region: str
    role: str
    version: str
    uptime_s: float
    health: Health
    #: None if it is not known: Kafka does not respond.
    lag: int | None
    partitions: int | None
    #: Whether preference checks can use Redis: it responded, and the lease was renewed.
    redis_trusted: bool
    #: Regions whose control log this worker could not read; only the forward role reads them.
    unreachable: list[str]
    triggers: dict[str, int]
    dead_letters: dict[str, int]
    deliveries: list[EndedDeliveries]
    decision: Times
    #: From the trigger's entry to the provider call, by lane.
    to_provider: dict[str, Times]
    providers: dict[str, Times]
    #: None on roles without a provider.
    provider_state: ProviderState | None = None
    #: The same as in the registration.
    id: str = ""
    #: By this machine's clock, in seconds since 1970.
    clock: float = 0.0
    stalled: list[StalledPart] = []
    #: Calls that fail at every attempt → seconds from the first failure to the last one.
    failing: dict[str, float] = {}
    #: What services have refused this process lately, one sentence each.
    refused: list[str] = []
    links: list[LinkState] = []
    provider_ends: list[ProviderEnds] = []
    #: Lane → upper bound in seconds → observations of `to_provider` up to it.
    to_provider_counts: dict[str, dict[str, int]] = {}
