"""The values of one region that the audit compares."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING, Any, Final

from notify_streams.admin.audit.sealed import SealedSums
from notify_streams.delivery.delivery_ledger import read_restored
from notify_streams.roles import CHANNEL_ROLES, CHANNELS, LANES
from notify_streams.settings_retention import RetentionSettings
from notify_streams.topics import USER_SIGNUPS

if TYPE_CHECKING:
    from notify_streams.regions.failover.protocol import ControlRecord

#: The clock of a shard is read beside the snapshot.
_CLOCK_S: Final = 1.0


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
    #: A call with an unknown result may have been accepted.
    in_doubt: bool = False
    #: A provider accepted a call, whatever it reported later.
    was_accepted: bool = False
    bucket: int = 0

    @property
    def handed_over(self) -> bool:
        """Whether a channel message must exist: a delivery that was suppressed when it was decided has none."""
        return self.attempts > 0 or self.state not in ("suppressed", "expired")


@dataclass(slots=True)
class ProviderAcceptance:
    """How often the provider log has one delivery, to all devices of its person."""

    times: int = 0
    #: `to_sha` of each acceptance that was not marked as a possible duplicate.
    unmarked: tuple[str, ...] = ()

    def add(self, to_sha: str, *, marked: bool) -> None:
        """Count one acceptance."""
        self.times += 1
        if not marked:
            self.unmarked = (*self.unmarked, to_sha)

    @property
    def is_doubled(self) -> bool:
        """Whether one address was called twice without a mark."""
        return len(self.unmarked) > 1 and len(set(self.unmarked)) < len(self.unmarked)


@dataclass(frozen=True, slots=True)
class Fence:
    """The positions of the ledgers at the time of the database snapshot: what lies behind them is not compared."""

    #: (role, topic, partition) → next offset
    positions: Mapping[tuple[str, str, int], int]

    def is_behind(self, role: str, topic: str, partition: int, offset: int) -> bool:
        """Whether a role had not taken this record yet."""
        return offset >= self.positions.get((role, topic, partition), 0)

    def count_behind(self, roles: Collection[str], topic: str, partition: int, offset: int) -> int:
        """How many of these roles had not taken this record yet."""
        return sum(self.is_behind(role, topic, partition, offset) for role in roles)


class RestoredLedgers:
    """What the ledgers say of the last restore: which records stem from work that the backup did not have, and that was done again."""

    def __init__(self, ledgers: Collection[Mapping[str, Any]]) -> None:
        found = {(one["role"], one["topic"], one["partition"]): one for one in ledgers if "restored" in one}
        #: Unix seconds; None: this region was never restored.
        self.at: float | None = max((one["restored"]["at"].timestamp() for one in found.values()), default=None)
        #: When its Kafka began; None: it was kept.
        self.kafka_since = self.at if any(one["restored"]["is_new"] for one in found.values()) else None
        self._positions = {place: one["restored"]["from"] for place, one in found.items()}
        self._messages = {
            place[1:]: restored
            for place, one in found.items()
            if place[0] in CHANNEL_ROLES and (restored := read_restored(one)) is not None
        }

    def was_before(self, at: float) -> bool:
        """Whether something happened before the restore (Unix seconds)."""
        return self.at is not None and at < self.at

    def is_superseded(self, topic: str, partition: int, offset: int, source_topic: str, source_offset: int) -> bool:
        """Whether a channel message was left out, because its trigger was decided again."""
        one = self._messages.get((topic, partition))
        return one is not None and one.is_superseded(offset, source_topic, source_offset)

    def is_repeated(self, at: float, source: str) -> bool:
        """Whether an output of the record ``topic:partition:offset``, published at `at`, was counted before the backup or is made again."""
        if not self.was_before(at):
            return False
        if self.kafka_since is not None:
            return True  # it stems from the backup's outbox
        try:
            topic, partition, offset = source.rsplit(":", 2)
            roles = ("registry",) if topic == USER_SIGNUPS else LANES
            return all(int(offset) >= self._positions.get((role, topic, int(partition)), 0) for role in roles)
        except ValueError:
            return False


@dataclass(slots=True)
class RegionSnapshot:
    """What one region's audit compares, beside the rows of its `Parts`.

    The database is read first, each shard at one cluster time. The ledgers of that time are the fence for the topics, which are read later.
    """

    region: str
    #: Ledger documents.
    ledgers: list[Mapping[str, Any]] = field(default_factory=list)
    #: By topic and partition, for topics with ledgers.
    extents: dict[tuple[str, int], Extent] = field(default_factory=dict)
    #: Notifications in MongoDB.
    notifications: int = 0
    #: By region: records that were not forwarded to it yet when the audit began, or were written since.
    waiting_for: dict[str, int] = field(default_factory=dict)
    #: By kind (see `sealed.KINDS`): records between the fences or the bases of the two lanes, of which only the ledger of one counts.
    uncertain: Counter[str] = field(default_factory=Counter)
    #: Of partitions of which retention has deleted records: all that were appended later are there (Unix seconds).
    held_since: dict[tuple[str, int], float] = field(default_factory=dict)
    #: By bucket: when the database was read, by the clock that deletes notifications (Unix seconds).
    read_at: dict[int, float] = field(default_factory=dict)
    retention: RetentionSettings = field(default_factory=RetentionSettings)
    #: How long the shards keep notifications. The settings may say more, until `shards init` applies them.
    notifications_kept_s: float = inf
    #: See `notification_expiry.all_since`.
    notifications_since: float = -inf
    #: They say what was counted of what is deleted.
    sealed: SealedSums = field(default_factory=SealedSums)
    #: By event topic and partition: when the first record that is kept was appended (ms).
    events_since: dict[tuple[str, int], int] = field(default_factory=dict)
    #: Outbox rows that are not deleted yet; the records in them.
    outbox_rows: int = 0
    outbox_records: int = 0
    #: By role and bucket: deliveries that wait for another attempt.
    timers: Counter[tuple[str, int]] = field(default_factory=Counter)
    #: Finished placement changes in this region's control log.
    changes: list[ControlRecord] = field(default_factory=list)
    #: Whether there is a provider log.
    has_log: bool = False
    #: The channels that the provider log is about. The messages of others go to providers that have no log here.
    logged_channels: frozenset[str] = frozenset(CHANNELS)
    #: Lines of the provider log that say nothing, and the offset at which the first of them ends.
    invalid_log_lines: int = 0
    first_invalid_at: int | None = None

    #: By bucket: the buckets that its people were in before the region grew (`BucketDirectory.former_buckets`).
    former_buckets: Mapping[int, Sequence[int]] = field(default_factory=dict)
    #: Finished restores of this region from backups, oldest first (`stores.maintenance`).
    restores: Sequence[Mapping[str, Any]] = field(default_factory=list)
    #: By role, topic and partition: what its group had committed before the database was read.
    committed: dict[tuple[str, str, int], int] = field(default_factory=dict)

    #: See `fence`, `restored` and `is_counted`.
    _fence: Fence | None = None
    _restored: RestoredLedgers | None = None
    _base_fences: dict[str, Fence] = field(default_factory=dict)

    def fence(self) -> Fence:
        """Of the ledgers at the first call."""
        if self._fence is None:
            self._fence = Fence(
                {(one["role"], one["topic"], one["partition"]): one["next_offset"] for one in self.ledgers}
            )
        return self._fence

    def restored(self) -> RestoredLedgers:
        """Of the ledgers at the first call."""
        if self._restored is None:
            self._restored = RestoredLedgers(self.ledgers)
        return self._restored

    def note_invalid_line(self, ends_at: int) -> None:
        """Count a line of the provider log that is not valid."""
        self.invalid_log_lines += 1
        self.first_invalid_at = ends_at if self.first_invalid_at is None else self.first_invalid_at

    def kept_since(self, bucket: int) -> float:
        """Notifications of periods that end by then may have been deleted (Unix seconds)."""
        kept_s = min(self.retention.notifications.total_seconds(), self.notifications_kept_s)
        return max(self.read_at.get(bucket, 0.0) + _CLOCK_S - kept_s, self.notifications_since)

    def last_kept_since(self) -> float:
        """The latest of all buckets."""
        return max(map(self.kept_since, self.read_at), default=0.0)

    def all_held_since(self, topic: str, bucket: int) -> float:
        """All records about the people of a bucket that were appended later are there, also those of before a growth (Unix seconds)."""
        places = bucket, *self.former_buckets.get(bucket, ())
        return max(self.held_since.get((topic, place), 0.0) for place in places)

    def events_known_since(self, topic: str, bucket: int) -> int | None:
        """The same for events: when the first one was appended that is there (ms); None: there was none."""
        places = bucket, *self.former_buckets.get(bucket, ())
        found = [self.events_since[topic, place] for place in places if (topic, place) in self.events_since]
        return max(found, default=None)

    def may_have_expired(self, decided_s: float, kept_since: float) -> bool:
        """Whether a notification may have been deleted. `decided_s`: Unix seconds.

        It names the period of its decision or a later one; the one before, if that was not sealed yet.
        """
        return decided_s - self.retention.period_s <= kept_since

    def is_before(self, kind: str, source: str) -> bool:
        """Whether every role that could take the source record (``topic:partition:offset``) had passed it."""
        return not self._count(kind, source, self.fence())

    def is_counted(self, kind: str, source: str) -> bool:
        """Whether every role that could take the source record took it after the base of its ledger."""
        fence = self._base_fences.get(kind)
        if fence is None:
            positions = {
                (one["role"], one["topic"], one["partition"]): self.sealed.base(kind, one)["next_offset"]
                for one in self.ledgers
            }
            fence = self._base_fences[kind] = Fence(positions)
        return self._count(kind, source, fence, of_all=True)

    def _count(self, kind: str, source: str, fence: Fence, *, of_all: bool = False) -> bool:
        """Whether the source record is behind the fence of one role, or `of_all` that could take it."""
        try:
            topic, partition, offset = source.rsplit(":", 2)
            place = topic, int(partition), int(offset)
        except ValueError:
            return of_all
        roles = ("registry",) if topic == USER_SIGNUPS else LANES
        behind = fence.count_behind(roles, *place)
        if 0 < behind < len(roles):
            self.uncertain[kind] += 1
        return behind == len(roles) if of_all else bool(behind)
