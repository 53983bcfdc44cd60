"""Kafka settings of an app, including those that Faust fixes or hides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from notify_streams.kafka import IsolationLevel


@dataclass(frozen=True, slots=True)
class TransportSettings:
    """How an app reads, commits and writes. The defaults suit a worker that must fail over within seconds."""

    #: How long a broker may hold an empty fetch that leaves a partition out. Faust fixes 1500; at low rates, partitions of one broker wait
    #: for each other this long.
    fetch_max_wait_ms: int = 50
    #: The same for a fetch of all partitions, which delays no record: it sets the load of an idle worker.
    idle_fetch_max_wait_ms: int = 500
    fetch_min_bytes: int = 1
    #: Shortest time between two fetches from one broker. aiokafka spends a millisecond on a fetch, in a thread that the event loop then
    #: waits for. Where a few hundred records a second are expensive to process, a gap lowers the latency of all; elsewhere it adds to it.
    fetch_gap_s: float = 0.0
    #: Largest response to one fetch: over all partitions, and for one.
    fetch_max_bytes: int = 16 * 1024 * 1024
    max_partition_fetch_bytes: int = 1024 * 1024
    #: `read_committed` never delivers a record of an aborted transaction. Faust reads uncommitted.
    isolation_level: IsolationLevel = "read_committed"
    #: Limits of one delivered batch; bytes are those of keys and values, and a single record may exceed them.
    #: A partition is paused while its buffer has this much, so that it holds at most this plus one fetch.
    max_batch_records: int = 10_000
    max_batch_bytes: int = 8 * 1024 * 1024
    #: A crashed worker is noticed after the session timeout (Faust: 60 s). The broker refuses less than its
    #: `group.min.session.timeout.ms` (6 s by default).
    session_timeout_s: float = 6.0
    heartbeat_s: float = 1.5
    #: `group.instance.id`: the member keeps its partitions while it restarts within the session timeout. None: it leaves at its end.
    #: No two members of a group may have the same one at the same time.
    group_instance_id: str | None = None
    #: How long a rebalance waits for its slowest member.
    rebalance_timeout_s: float = 20.0
    #: How long a revocation waits for acknowledgements of what is in flight before it commits.
    drain_timeout_s: float = 5.0
    commit_interval_s: float = 1.0
    #: Pause after an agent's body raised, before its unacknowledged batches are delivered again.
    failed_body_pause_s: float = 1.0
    #: Producer; `acks=all` and idempotence are fixed. aiokafka compresses lz4 at its highest level: on JSON, zstd gives half the size for
    #: an eighth of the CPU time.
    compression: Literal["gzip", "snappy", "lz4", "zstd"] | None = "zstd"
    #: Uncompressed bytes of one produced record batch; below the broker's `message.max.bytes` (1,048,588).
    max_produce_bytes: int = 1_000_000
    #: Uncompressed bytes of one record, which may be alone in a larger batch; None: `max_produce_bytes`.
    max_record_bytes: int | None = None
    #: A batch that is not acknowledged after this time has failed.
    produce_timeout_s: float = 10.0
    request_timeout_s: float = 10.0
    #: Time between two observations of the health monitor.
    observe_every_s: float = 5.0
    #: What to do about missing topics: part of the error message when the app does not start because of them.
    missing_topics_remedy: str = "create them before the app starts"

    def __post_init__(self) -> None:
        """Check for combinations that Kafka would refuse later, or that cannot work.

        Raises:
            ValueError: names the setting and its bound.
        """
        if self.heartbeat_s * 2 > self.session_timeout_s:
            raise ValueError(
                f"heartbeat_s={self.heartbeat_s} must be at most half of session_timeout_s={self.session_timeout_s}"
            )
        if self.drain_timeout_s >= self.rebalance_timeout_s:
            raise ValueError(
                f"drain_timeout_s={self.drain_timeout_s} must be below rebalance_timeout_s={self.rebalance_timeout_s}"
            )
        for name in ("max_batch_records", "max_batch_bytes", "max_produce_bytes", "max_partition_fetch_bytes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1")
