"""Every metric of the application: one closed list with unit and meaning, served by `/metrics` in Prometheus' text format.

Labels never hold a person's id or contact.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate
from math import inf
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from prometheus_client.core import Metric


class BatchHistogram(Collector):
    """A histogram that takes one value for many observations at once: a batch costs what a single one costs."""

    def __init__(self, name: str, meaning: str, bounds: Sequence[float]) -> None:
        self._name = name
        self._meaning = meaning
        self._bounds = (*bounds, inf)
        self._counts = [0] * len(self._bounds)
        self._sum = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        self._counts[bisect_left(self._bounds, value)] += times
        self._sum += value * times

    def quantile(self, share: float) -> float:
        """The upper bound of the bucket in which this share (0 to 1) of the observations ends; 0.0 without any."""
        wanted = share * sum(self._counts)
        for bound, count in zip(self._bounds, accumulate(self._counts), strict=True):
            if count and count >= wanted:
                return bound
        return 0.0

    def collect(self) -> Iterable[Metric]:
        counts = [
            ("+Inf" if bound == inf else repr(bound), count)
            for bound, count in zip(self._bounds, accumulate(self._counts), strict=True)
        ]
        yield HistogramMetricFamily(self._name, self._meaning, buckets=counts, sum_value=self._sum)


REGISTRY: Final = CollectorRegistry()

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0)
_DECISION_SECONDS: Final = (0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0015, 0.002, 0.005, 0.01, 0.1)

#: Triggers by what became of them (`records.reasons.Outcome`), counted when the transaction that says so has committed.
TRIGGERS: Final = Counter("notify_triggers", "Triggers by outcome", ["outcome"], registry=REGISTRY)
DEAD_LETTERS: Final = Counter("notify_dead_letters", "Dead letters by reason", ["reason"], registry=REGISTRY)
OTHER_LANE: Final = Counter("notify_other_lane", "Records left to the other router role", registry=REGISTRY)
#: The time to decide one trigger, its share of the batch's preference check included.
DECISION: Final = BatchHistogram("notify_decision_seconds", "Time to decide one trigger", _DECISION_SECONDS)
REGISTRY.register(DECISION)
FLUSH: Final = Histogram("notify_flush_seconds", "Transaction of one flush", registry=REGISTRY, buckets=_SECONDS)
PUBLISH: Final = Histogram("notify_publish_seconds", "Publishing one flush", registry=REGISTRY, buckets=_SECONDS)
FLUSH_RETRIES: Final = Counter("notify_flush_retries", "Flushes tried again by cause", ["cause"], registry=REGISTRY)
RETRIES: Final = Counter("notify_retries", "Failed attempts that were retried, by call", ["call"], registry=REGISTRY)
FENCED: Final = Counter("notify_fenced", "Batches refused by the ledger", registry=REGISTRY)
WAITING: Final = Gauge("notify_waiting_records", "Decided records that wait for a flush", ["shard"], registry=REGISTRY)
OUTBOX_OLDEST: Final = Gauge(
    "notify_outbox_oldest_seconds", "Age of the oldest unpublished outbox row", registry=REGISTRY
)
OUTBOX_ROWS: Final = Gauge("notify_outbox_rows", "Outbox rows of this worker's buckets", registry=REGISTRY)
RELAYED: Final = Counter("notify_relayed_rows", "Outbox rows published for a worker that did not", registry=REGISTRY)
ABANDONED: Final = Counter(
    "notify_abandoned_transactions", "Transactions of dead workers that this one aborted", registry=REGISTRY
)
DELIVERIES: Final = Counter(
    "notify_deliveries", "Deliveries by channel, state and reason", ["channel", "state", "reason"], registry=REGISTRY
)
PROVIDER_CALL: Final = Histogram(
    "notify_provider_seconds", "One provider call", ["provider"], registry=REGISTRY, buckets=_SECONDS
)
TO_PROVIDER: Final = Histogram(
    "notify_trigger_to_provider_seconds", "Decision to provider call", ["lane"], registry=REGISTRY, buckets=_SECONDS
)
REDIS_UNAVAILABLE: Final = Counter(
    "notify_redis_unavailable", "Preference checks that could not use Redis and asked another source", registry=REGISTRY
)
TABLE_ONLY: Final = Counter(
    "notify_table_only",
    "Batches decided by the table alone, because neither Redis nor MongoDB answered",
    registry=REGISTRY,
)
DURABLE_CHECKS: Final = Counter(
    "notify_durable_checks", "Messages checked against the durable preferences", registry=REGISTRY
)
PREFERENCE_UPDATES: Final = Counter(
    "notify_preference_updates", "Preference updates by result", ["result"], registry=REGISTRY
)
REJECTED_RECORDS: Final = Counter(
    "notify_rejected_records", "Unusable records of other topics than triggers", ["topic", "reason"], registry=REGISTRY
)
RECOVERY_KEYS: Final = Gauge("notify_recovery_keys", "Keys read by table recovery", ["table"], registry=REGISTRY)
LAG: Final = Gauge(
    "notify_lag_records", "Records behind the end of a partition", ["topic", "partition"], registry=REGISTRY
)


def exposition() -> bytes:
    """All metrics in Prometheus' text format."""
    return generate_latest(REGISTRY)
