"""All metrics of the application: name, unit, meaning.

No label holds a user id or a contact. `/metrics` serves them.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate
from math import inf
from typing import TYPE_CHECKING, Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from prometheus_client.core import Metric


class BatchHistogram(Collector):
    """A histogram with one call for many equal observations, because a call for each trigger costs too much."""

    def __init__(self, name: str, help_text: str, bounds: Sequence[float]) -> None:
        self._name = name
        self._help = help_text
        self._bounds = (*bounds, inf)
        self._counts = [0] * len(self._bounds)
        self._sum = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        self._counts[bisect_left(self._bounds, value)] += times
        self._sum += value * times

    def collect(self) -> Iterable[Metric]:
        cumulative = [
            ("+Inf" if bound == inf else repr(bound), count)
            for bound, count in zip(self._bounds, accumulate(self._counts), strict=True)
        ]
        yield HistogramMetricFamily(self._name, self._help, buckets=cumulative, sum_value=self._sum)


REGISTRY: Final = CollectorRegistry()

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0)
_DECISION_SECONDS: Final = (0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0015, 0.002, 0.005, 0.01, 0.1)

#: Counted when the transaction that stores the outcome (`records.outcomes.TriggerOutcome`) has committed.
TRIGGERS: Final = Counter("notify_triggers", "Triggers, by outcome", ["outcome"], registry=REGISTRY)
DEAD_LETTERS: Final = Counter("notify_dead_letters", "Dead letters, by reason", ["reason"], registry=REGISTRY)
OTHER_LANE: Final = Counter(
    "notify_other_lane", "Triggers left to the router role of the other lane", registry=REGISTRY
)
#: Includes the trigger's share of the batch's preference check.
DECISION: Final = BatchHistogram("notify_decision_seconds", "Seconds to decide one trigger", _DECISION_SECONDS)
REGISTRY.register(DECISION)
FLUSH: Final = Histogram(
    "notify_flush_seconds", "Seconds for the transaction of one flush", registry=REGISTRY, buckets=_SECONDS
)
PUBLISH: Final = Histogram(
    "notify_publish_seconds", "Seconds to publish the records of one flush", registry=REGISTRY, buckets=_SECONDS
)
FLUSH_RETRIES: Final = Counter("notify_flush_retries", "Retried flushes, by cause", ["cause"], registry=REGISTRY)
RETRIES: Final = Counter("notify_retries", "Failed attempts, by call", ["call"], registry=REGISTRY)
FENCED: Final = Counter("notify_fenced", "Batches refused by the ledger", registry=REGISTRY)
WAITING: Final = Gauge(
    "notify_waiting_records", "Decided triggers in the flush queue, by shard", ["shard"], registry=REGISTRY
)
OUTBOX_OLDEST: Final = Gauge(
    "notify_outbox_oldest_seconds", "Age in seconds of the oldest unpublished outbox row", registry=REGISTRY
)
OUTBOX_ROWS: Final = Gauge("notify_outbox_rows", "Outbox rows of this worker's buckets", registry=REGISTRY)
RELAYED: Final = Counter(
    "notify_relayed_rows", "Outbox rows of a stopped worker that this one published", registry=REGISTRY
)
EVENTS: Final = Counter("notify_events", "Published events of deliveries, by topic", ["topic"], registry=REGISTRY)
ABANDONED: Final = Counter(
    "notify_abandoned_transactions", "Transactions of stopped workers that this one aborted", registry=REGISTRY
)
DELIVERIES: Final = Counter(
    "notify_deliveries",
    "Ended deliveries, by channel, state and reason",
    ["channel", "state", "reason"],
    registry=REGISTRY,
)
#: `answer`: the status ("HTTP 503", "SMTP 451"), or the type of the network error; `code`: the provider's own code.
PROVIDER_ANSWERS: Final = Counter(
    "notify_provider_answers",
    "Ends of provider calls, by provider, outcome, answer and code",
    ["provider", "outcome", "answer", "code"],
    registry=REGISTRY,
)
#: Each is in `notify_provider_answers` with its code: look it up in the provider's documents.
PROVIDER_UNKNOWN_CODES: Final = Counter(
    "notify_provider_unknown_codes",
    "Ends of provider calls with an error code that is not in the provider's table",
    ["provider"],
    registry=REGISTRY,
)
PROVIDER_OPEN: Final = Gauge(
    "notify_provider_stopped",
    "1 while the provider is not called: its circuit breaker is open, or an operator has paused it",
    ["provider"],
    registry=REGISTRY,
)
PROVIDER_CALL: Final = Histogram(
    "notify_provider_seconds", "Seconds for one provider call", ["provider"], registry=REGISTRY, buckets=_SECONDS
)
TO_PROVIDER: Final = Histogram(
    "notify_trigger_to_provider_seconds",
    "Seconds from the trigger's entry into its first topic, by Kafka's time, to the provider call, by lane and channel",
    ["lane", "channel"],
    registry=REGISTRY,
    buckets=_SECONDS,
)
TO_DELIVERED: Final = Histogram(
    "notify_trigger_to_delivered_seconds",
    "Seconds from the trigger's entry into its first topic, by Kafka's time, to the time at which the provider delivered, by lane and channel; "
    "role receipts",
    ["lane", "channel"],
    registry=REGISTRY,
    buckets=(*_SECONDS, 30.0, 60.0, 300.0, 3600.0),
)
PROVIDER_CALLS: Final = Gauge(
    "notify_provider_calls_under_way",
    "Calls of this worker to a provider without an answer",
    ["provider"],
    registry=REGISTRY,
)
#: Without a limit in the settings a provider has no value.
PROVIDER_LIMIT: Final = Gauge(
    "notify_provider_limit_calls_per_second",
    "This worker's share of a credential's limit",
    ["provider"],
    registry=REGISTRY,
)
TIMER_LATE: Final = Histogram(
    "notify_timer_late_seconds",
    "Seconds between the time at which a retry was due and its beginning, by the shard's clock",
    registry=REGISTRY,
    buckets=(*_SECONDS, 30.0, 60.0, 300.0, 3600.0),
)
TIMERS_DUE: Final = Gauge(
    "notify_timers_due",
    "Retries of this worker that are due and have not begun, at most 10,000 of each shard; read every 5 s",
    registry=REGISTRY,
)
TIMER_OLDEST_DUE: Final = Gauge(
    "notify_timer_oldest_due_seconds",
    "Seconds since the oldest of `notify_timers_due` was due, by the shard's clock; 0 if none is due",
    registry=REGISTRY,
)
REDIS_UNAVAILABLE: Final = Counter(
    "notify_redis_unavailable", "Preference checks made without Redis", registry=REGISTRY
)
TABLE_ONLY: Final = Counter(
    "notify_table_only", "Batches decided from the table alone, without Redis and MongoDB", registry=REGISTRY
)
DURABLE_CHECKS: Final = Counter(
    "notify_durable_checks", "Messages checked against the preference records in MongoDB", registry=REGISTRY
)
PREFERENCE_UPDATES: Final = Counter(
    "notify_preference_updates", "Preference updates, by result", ["result"], registry=REGISTRY
)
#: `result`: `reported` to be removed from the contacts; `not_reported`: too many wait, the next message to the address reports it again.
CATEGORY_PAUSED: Final = Gauge(
    "notify_category_paused", "1 while messages of a category wait", ["channel", "category"], registry=REGISTRY
)
REPUTATION_PAUSES: Final = Counter(
    "notify_reputation_pauses",
    "Categories whose mails were paused because too many bounced or were complained about",
    ["category"],
    registry=REGISTRY,
)
DEAD_ADDRESSES: Final = Counter(
    "notify_dead_addresses",
    "Addresses that a provider knows no longer, by channel and result",
    ["channel", "result"],
    registry=REGISTRY,
)
REJECTED_RECORDS: Final = Counter(
    "notify_rejected_records",
    "Records of topics other than triggers that cannot be processed, by topic and reason",
    ["topic", "reason"],
    registry=REGISTRY,
)
UNKNOWN_RECEIPTS: Final = Counter(
    "notify_unknown_receipts", "Receipts for deliveries that this region does not have", registry=REGISTRY
)
ERASURES: Final = Counter(
    "notify_erasures",
    "Passes of erasures that this worker has finished, by pass: first_pass, finished; failed: by an error that is no outage",
    ["state"],
    registry=REGISTRY,
)
#: `kind`: retry, next_channel.
RECEIPT_FOLLOW_UPS: Final = Counter(
    "notify_receipt_follow_ups", "What was begun because a receipt said failed, by kind", ["kind"], registry=REGISTRY
)
LOST: Final = Counter(
    "notify_lost_records",
    "Positions that Kafka's retention deleted before this worker's role had read them, by topic: alert on any",
    ["topic"],
    registry=REGISTRY,
)
SEALED: Final = Counter("notify_sealed_sums", "Periods of ledgers whose sums this worker has sealed", registry=REGISTRY)
REJECTED_HEADERS: Final = Counter(
    "notify_rejected_headers",
    "Forwarding headers that were ignored: not a number, too large, or an epoch that no control log confirmed in time",
    ["header"],
    registry=REGISTRY,
)
SUPPRESSED_LOG_LINES: Final = Counter(
    "notify_suppressed_log_lines", "Log lines not written because their kind had one within a minute", registry=REGISTRY
)
#: `result`: sent; failed: the endpoint did not take them; dropped: too many waited.
SPANS: Final = Counter("notify_spans", "Spans of traces, by what became of them", ["result"], registry=REGISTRY)
#: `result`: traced; limited: above `tracing.max_triggers_per_s`.
TRACED_TRIGGERS: Final = Counter(
    "notify_traced_triggers",
    "Triggers whose sampled flag asks for a trace, or that were drawn",
    ["result"],
    registry=REGISTRY,
)
REBALANCES: Final = Counter(
    "notify_rebalances", "Assignments of partitions to this worker by its consumer group", registry=REGISTRY
)
REBALANCE: Final = Histogram(
    "notify_rebalance_seconds",
    "Seconds from the loss of the partitions to the start of the new ones: nothing is read meanwhile",
    registry=REGISTRY,
    buckets=(0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0),
)
#: `reason`: not_started, not_processed, not_committed, not_recovered. `/live` fails at 30.
STALLED: Final = Gauge(
    "notify_stalled_seconds",
    "The longest time for which a partition or table of this worker has made no progress although it could, by reason",
    ["reason"],
    registry=REGISTRY,
)
KAFKA_SILENT: Final = Gauge(
    "notify_kafka_silent_seconds",
    "Seconds since Kafka last gave this worker the offsets of its partitions; it is asked every 5 s",
    registry=REGISTRY,
)
SHARD_SILENT: Final = Gauge("notify_shards_silent", "Shards that do not answer this worker", registry=REGISTRY)
REFUSALS: Final = Gauge(
    "notify_refused_by_services",
    "Passwords, certificates and rights that services have refused this worker in the last 30 s; `/ready` has the sentences",
    registry=REGISTRY,
)
CLOCK: Final = Gauge("notify_clock_seconds", "The Unix time of this worker's machine at the scrape", registry=REGISTRY)
READY: Final = Gauge("notify_ready", "1 while `/ready` answers 200", registry=REGISTRY)
LOOP_LAG: Final = Histogram(
    "notify_event_loop_lag_seconds",
    "Seconds by which the event loop is late; read four times a second",
    registry=REGISTRY,
    buckets=_SECONDS,
)
BUILD: Final = Gauge(
    "notify_build", "1; the version, region and role of this worker", ["version", "region", "role"], registry=REGISTRY
)
ProcessCollector(registry=REGISTRY)
GCCollector(registry=REGISTRY)
RECOVERY_KEYS: Final = Gauge(
    "notify_recovery_keys", "Rows of a table that recovery has read", ["table"], registry=REGISTRY
)
LAG: Final = Gauge(
    "notify_lag_records",
    "Records between the position and the end of a partition",
    ["topic", "partition"],
    registry=REGISTRY,
)
#: `reason`: token (missing or wrong), body (too long, or compressed), connections (closed for another one), silent (took no response).
WEB_REFUSED: Final = Counter(
    "notify_web_refused",
    "Requests and connections that the web server refused, by reason",
    ["reason"],
    registry=REGISTRY,
)
#: `result`: accepted, repeated, refused (not signed, too old, or not to be read), unconfigured.
WEBHOOKS: Final = Counter(
    "notify_webhooks", "Webhooks of providers by result", ["provider", "result"], registry=REGISTRY
)
#: `event`: stopped, allowed, complaint, bounced.
ADDRESS_REPORTS: Final = Counter(
    "notify_address_reports", "What webhooks said about addresses, by channel", ["channel", "event"], registry=REGISTRY
)
#: `outcome`: answered, refused (no answer, or the request had made its one hop).
RELAYED_REQUESTS: Final = Counter(
    "notify_relayed_requests",
    "Requests to the role webhooks that another region had to answer",
    ["region", "outcome"],
    registry=REGISTRY,
)


def exposition() -> bytes:
    """All metrics in the Prometheus text format."""
    return generate_latest(REGISTRY)
