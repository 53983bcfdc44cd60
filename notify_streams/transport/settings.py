"""What Faust hides or fixes about Kafka, as one frozen value attached to an app.

In: an operator's choices. Out: a validated `TransportSettings`. Knows no topic by name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class TransportSettings:
    """How an app reads, commits and writes. The defaults suit a worker that must fail over within seconds."""

    #: How long a broker may keep a fetch that has nothing to answer and leaves a partition out. Faust fixes 1500; partitions of one
    #: broker wait for each other this long at low rates.
    fetch_max_wait_ms: int = 50
    #: The same for a fetch that leaves none out, which nothing can wait for: what an idle worker costs.
    idle_fetch_max_wait_ms: int = 500
    fetch_min_bytes: int = 1
    #: Fetches from one broker begin at least this far apart. aiokafka spends a millisecond on a fetch whatever it brings, in a thread that
    #: the event loop then waits for: where some hundred records a second cost much to work on, a gap makes all of them sooner. Where they
    #: cost nothing, it only makes them later.
    fetch_gap_s: float = 0.0
    #: Most that one fetch brings, over all partitions and for one.
    fetch_max_bytes: int = 16 * 1024 * 1024
    max_partition_fetch_bytes: int = 1024 * 1024
    #: `read_committed` never delivers a record of an aborted transaction. Faust reads uncommitted.
    isolation_level: Literal["read_committed", "read_uncommitted"] = "read_committed"
    #: One delivered batch has at most this many records and (keys + values, one record excepted) bytes.
    #: What waits for the agent is bound by the same figures plus one fetch; beyond it the partition is paused.
    max_batch_records: int = 10_000
    max_batch_bytes: int = 8 * 1024 * 1024
    #: A crashed worker is noticed after the session timeout (Faust: 60 s). The broker refuses less than its
    #: `group.min.session.timeout.ms` (6 s unless lowered).
    session_timeout_s: float = 6.0
    heartbeat_s: float = 1.5
    #: How long a joining group waits for its slowest member.
    rebalance_timeout_s: float = 20.0
    #: At a revocation, how long to wait for what agents have in flight before committing what is acknowledged.
    drain_timeout_s: float = 5.0
    commit_interval_s: float = 1.0
    #: How long to wait after an agent's body raised, before what it had not acknowledged comes again.
    failed_body_pause_s: float = 1.0
    #: Producer: `acks=all` and idempotence are not negotiable, these are.
    #: aiokafka packs lz4 at its highest level: of JSON, zstd makes half of that at an eighth of the CPU time.
    compression: Literal["gzip", "snappy", "lz4", "zstd"] | None = "zstd"
    #: Uncompressed bytes of one produced record batch; below the broker's `message.max.bytes` (1,048,588).
    max_produce_bytes: int = 1_000_000
    #: Uncompressed bytes of one record, which may be alone in a larger batch; None: no more than a batch has.
    max_record_bytes: int | None = None
    #: A batch that the broker has not acknowledged after this long has failed.
    produce_timeout_s: float = 10.0
    request_timeout_s: float = 10.0
    #: What an operator is told who starts an app before its source or table topics are there.
    missing_topics_remedy: str = "create them before the app starts"

    def __post_init__(self) -> None:
        """Refuse combinations that Kafka would refuse later, or that cannot work.

        Raises:
            ValueError: names the setting and the bound.
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
