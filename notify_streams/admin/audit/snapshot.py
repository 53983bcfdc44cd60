"""What the audit knows of one region: plain values, gathered by the rim, compared by the centre."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from notify_streams.regions.failover.protocol import ControlRecord


@dataclass(frozen=True, slots=True)
class Extent:
    """A partition's first and next offset in Kafka."""

    first: int
    end: int


@dataclass(frozen=True, slots=True)
class DeliverySnapshot:
    """One delivery as MongoDB has it."""

    state: str
    attempts: int
    reason: str | None = None
    #: Unix seconds.
    decided_at: float = 0.0

    @property
    def handed_over(self) -> bool:
        """Whether a channel message must exist: a delivery that was refused when it was decided has none."""
        return self.attempts > 0 or self.state not in ("suppressed", "expired")


@dataclass(slots=True)
class ProviderAcceptance:
    """What the providers' own record says of one delivery."""

    times: int = 0
    marked: int = 0


@dataclass(slots=True)
class RegionSnapshot:
    """Everything that one region's audit compares."""

    region: str
    #: Ledger documents, as they are.
    ledgers: list[Mapping[str, Any]] = field(default_factory=list)
    #: By topic and partition, of the topics that ledgers are kept of.
    extents: dict[tuple[str, int], Extent] = field(default_factory=dict)
    #: Notifications in MongoDB.
    notifications: int = 0
    #: By channel topic, delivery id -> delivery.
    deliveries: dict[str, dict[str, DeliverySnapshot]] = field(default_factory=dict)
    #: By channel topic, delivery id -> how often it was published.
    published: dict[str, Counter[str]] = field(default_factory=dict)
    #: Sources (topic, partition, offset) of dead letters, of forwarded and of repartitioned records.
    dead_letters: Counter[str] = field(default_factory=Counter)
    forwarded: Counter[str] = field(default_factory=Counter)
    repartitioned: Counter[str] = field(default_factory=Counter)
    #: By region: triggers handed to it, and how many records wait for it in all. What came is in `arrived`, of whatever region.
    handed_to: dict[str, set[str]] = field(default_factory=dict)
    waiting_for: dict[str, int] = field(default_factory=dict)
    arrived: set[str] = field(default_factory=set)
    #: Outbox rows that are not deleted yet, and the records in them.
    outbox_rows: int = 0
    outbox_records: int = 0
    #: Finished changes of who serves whom, as this region's control log has them.
    changes: list[ControlRecord] = field(default_factory=list)
    #: Delivery id -> what providers accepted; None where no record is kept.
    accepted: dict[str, ProviderAcceptance] | None = None
