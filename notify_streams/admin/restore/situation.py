"""Reads what a restored region has: ledgers, Kafka, workers. Changes nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from notify_streams.admin.restore.positions import Reopened, decided_again, reopened
from notify_streams.outbox.row_ids import created_ms
from notify_streams.regions.consumer_groups import committed_by_role, running_roles
from notify_streams.regions.failover.heartbeat import RedisHeartbeat
from notify_streams.roles import CHANNEL_ROLES, LANES, ROLES, VIEWS, WEBHOOKS, lane_of
from notify_streams.stores.mongo import LEDGER, OUTBOX, TIMERS
from notify_streams.stores.mongo_errors import mongo_call
from notify_streams.topics import USER_SIGNUPS, trigger_topics

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from redis.asyncio import Redis

    from notify_streams.admin.audit.snapshot import Extent
    from notify_streams.admin.audit.topics import TopicReader
    from notify_streams.settings import Settings
    from notify_streams.stores.mongo import Document, Shards

Place = tuple[str, int]
_GROUPS_S: Final = 20.0
#: Records that were written so long before the backup may not have been processed then.
BACKLOG: Final = timedelta(hours=1)
#: The roles with consumer groups.
_READERS: Final = tuple(role for role in ROLES if role not in (VIEWS, WEBHOOKS))


@dataclass(slots=True)
class Situation:
    """A restored region."""

    is_new: bool
    #: Whether a consumer group of this system has committed offsets in this Kafka.
    has_commits: bool
    #: By role, topic and partition.
    ledgers: dict[tuple[str, str, int], Document]
    #: Of the topics with ledgers.
    extents: dict[Place, Extent]
    #: The topics of triggers.
    triggers: Sequence[str]
    #: The offsets before which nothing is to be read; empty: all of them.
    since: dict[Place, int]
    #: By shard: the time of the last transaction that its ledgers know.
    backups: list[datetime | None]
    outbox_rows: int = 0
    timers: int = 0
    #: What an operator has to decide or to put right first.
    findings: list[str] = field(default_factory=list)

    def reopened(self, key: tuple[str, str, int], restore: str = "") -> Reopened:
        """Where a ledger goes on. `restore`: the id of this one, which may have moved it already."""
        _, topic, partition = key
        return reopened(
            self.position(key, restore),
            self.extents[topic, partition],
            is_new=self.is_new,
            since=self.since.get((topic, partition)),
        )

    def position(self, key: tuple[str, str, int], restore: str = "") -> int:
        """A ledger's position in the backup."""
        ledger = self.ledgers[key]
        before = ledger.get("restored", {})
        return int(before["from"] if restore and before.get("id") == restore else ledger["next_offset"])

    def again(self, role: str, partition: int, restore: str = "") -> dict[str, tuple[int, int]]:
        """See `positions.decided_again`."""
        if self.is_new or role not in CHANNEL_ROLES:
            return {}
        keys: list[tuple[str, str, int]] = [(lane_of(role), topic, partition) for topic in self.triggers]
        positions = {key: self.position(key, restore) for key in keys if key in self.ledgers}
        extents = {(topic, partition): self.extents[topic, partition] for topic in self.triggers}
        return decided_again(role, partition, positions, extents)

    @property
    def oldest_backup(self) -> datetime | None:
        """None: a shard has no ledger that was ever moved."""
        known = [one for one in self.backups if one is not None]
        return min(known) if len(known) == len(self.backups) else None

    def reread_from(self) -> datetime:
        """From when on records without a ledger are read again."""
        return (self.oldest_backup or datetime(1970, 1, 2, tzinfo=UTC)) - BACKLOG

    def options(self) -> Document:
        """What a restore keeps of it from its beginning on, for `read_situation`: the ledgers that it reopens tell its own time."""
        return {"kafka": "new" if self.is_new else "kept", "backups": self.backups}

    def summary(self, restore: str = "") -> Document:
        """Numbers for the operator, by role."""
        unread: dict[str, int] = {}
        left_out: dict[str, int] = {}
        for key in self.ledgers:
            found = self.reopened(key, restore)
            unread[key[0]] = unread.get(key[0], 0) + found.unread
            left_out[key[0]] = left_out.get(key[0], 0) + found.left_out
        return {
            "kafka": "new" if self.is_new else "kept",
            "backups": [one and one.isoformat(timespec="seconds") for one in self.backups],
            "ledgers": len(self.ledgers),
            "unread": {role: count for role, count in unread.items() if count},
            "left_out": {role: count for role, count in left_out.items() if count},
            "outbox_rows": self.outbox_rows,
            "timers": self.timers,
        }


async def read_situation(
    settings: Settings,
    shards: Shards,
    topics: TopicReader,
    kafka: str,
    since: datetime | None,
    begun: Mapping[str, Any] | None = None,
) -> Situation:
    """The region as it is.

    Args:
        kafka: kept, new, or auto: kept if a consumer group of this system has committed offsets.
        begun: the options of the restore that is under way, if one is: `kafka` and `since` are those of it.

    Raises:
        RetryLater: a service does not answer.
    """
    if begun is not None:
        kafka, since = begun.get("kafka", kafka), begun.get("since")
    timeout_s = settings.outbox.transaction_timeout_s
    names = (*trigger_topics(settings), USER_SIGNUPS, *CHANNEL_ROLES)
    extents = await topics.extents(names)
    ledgers: dict[tuple[str, str, int], Any] = {}
    backups: list[datetime | None] = []
    rows = timers = 0
    for shard in range(len(shards)):
        here = {"bucket": {"$in": shards.buckets(shard)}}
        with mongo_call(f"read shard {shard}", timeout_s):
            database = shards.database(shard)
            found = await database[LEDGER].find(here).to_list()
            rows += await database[OUTBOX].count_documents(here)
            timers += await database[TIMERS].count_documents(here)
        ledgers |= {
            (one["role"], one["topic"], one["partition"]): one
            for one in found
            if (one["topic"], one["partition"]) in extents
        }
        backups.append(max((time for one in found if (time := _moved_at(one)) is not None), default=None))
    if begun is not None:
        backups = backups_of(begun, len(shards))
    roles = (*LANES, "registry")
    commits = await committed_by_role(settings.kafka_connection(), settings.region, roles, _GROUPS_S)
    has_commits = any(commits.values())
    is_new = kafka == "new" or (kafka == "auto" and not has_commits)
    at = {} if since is None else await topics.offsets_at(names, since)
    one = Situation(is_new, has_commits, ledgers, extents, trigger_topics(settings), at, backups, rows, timers)
    beyond = sum(ledger["next_offset"] > extents[key[1], key[2]].end for key, ledger in ledgers.items())
    if beyond and not is_new and kafka == "auto":
        one.findings.append(
            f"{beyond} ledgers are beyond the end of their partition, though this Kafka has committed offsets: say --kafka new "
            "if its topics were made anew, or --kafka kept if it lost the last records"
        )
    return one


async def running_workers(settings: Settings, redis: Redis) -> list[str]:
    """What runs of this region's workers."""
    running = await running_roles(settings.kafka_connection(), settings.region, _READERS, _GROUPS_S)
    if not running and await RedisHeartbeat(redis, settings.region).others_run():
        running.append(f"{VIEWS} or {WEBHOOKS}")
    return running


def backups_of(begun: Mapping[str, Any], shards: int) -> list[datetime | None]:
    """`Situation.backups` as they were when the restore with these options began; unknown if an earlier release began it."""
    return list(begun.get("backups") or [None] * shards)


def _moved_at(ledger: Document) -> datetime | None:
    """When a ledger was moved last; None if never."""
    flush = ledger.get("last_flush")
    # The id of a flush begins with its time, as in that of an outbox row.
    return None if not flush else datetime.fromtimestamp(created_ms(f"::{flush}:") / 1000, UTC)
