"""The values of one region that the audit compares."""

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
    """One delivery in MongoDB."""

    state: str
    attempts: int
    reason: str | None = None
    #: Unix seconds.
    decided_at: float = 0.0

    @property
    def handed_over(self) -> bool:
        """Whether a channel message must exist: a delivery that was suppressed when it was decided has none."""
        return self.attempts > 0 or self.state not in ("suppressed", "expired")


@dataclass(slots=True)
class ProviderAcceptance:
    """How often the provider log has one delivery, and how often marked as a possible duplicate."""

    times: int = 0
    marked: int = 0


@dataclass(slots=True)
class RegionSnapshot:
    """Everything that one region's audit compares."""

    region: str
    #: Ledger documents.
    ledgers: list[Mapping[str, Any]] = field(default_factory=list)
    #: By topic and partition, for topics with ledgers.
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
    #: By region: triggers forwarded to it; records that wait to be forwarded. `arrived`: triggers that came from any region.
    handed_to: dict[str, set[str]] = field(default_factory=dict)
    waiting_for: dict[str, int] = field(default_factory=dict)
    arrived: set[str] = field(default_factory=set)
    #: Outbox rows that are not deleted yet; the records in them.
    outbox_rows: int = 0
    outbox_records: int = 0
    #: Finished placement changes in this region's control log.
    changes: list[ControlRecord] = field(default_factory=list)
    #: By delivery id; None without a provider log.
    accepted: dict[str, ProviderAcceptance] | None = None
