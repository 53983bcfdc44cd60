"""What must hold before a region grows: no worker runs, no message waits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from notify_streams import kafka
from notify_streams.admin.audit import audit
from notify_streams.admin.lag import LagReader
from notify_streams.admin.shards import check_shards
from notify_streams.admin.shards.init import is_mongos
from notify_streams.admin.topics import partition_counts
from notify_streams.errors import Refused
from notify_streams.outbox.relay import Relay
from notify_streams.regions.consumer_groups import running_roles
from notify_streams.roles import CHANNEL_ROLES, ROLES
from notify_streams.stores.maintenance import MaintenanceLog
from notify_streams.topics import REGION_CONTROL

if TYPE_CHECKING:
    from notify_streams.admin.audit.topics import TopicReader
    from notify_streams.records.batch import Producer
    from notify_streams.settings import Settings
    from notify_streams.stores.mongo import Shards


def check_target(before: int, to: int) -> None:
    """Raises:
    Refused: a region cannot grow from `before` to `to` partitions.
    """
    if to <= before or to % before:
        raise Refused(
            f"the region has {before} partitions: it can grow to a multiple, such as {2 * before}, because then the people of a "
            "partition go to it or to new ones"
        )


async def check_idle(settings: Settings) -> None:
    """Raises:
    Refused: workers run.
    StoreUnavailable: Kafka does not answer.
    """
    running = await running_roles(settings.kafka_connection(), settings.region, ROLES)
    if running:
        raise Refused(
            f"workers of region {settings.region} run ({', '.join(running)}): stop all; one that was killed counts for some seconds"
        )


async def check_services(settings: Settings, to: int, shards: Shards) -> None:
    """Topics have the present partitions, or after an interruption those of the growth, and shards hold their own buckets.

    Raises:
        Refused: names the first problem.
        StoreUnavailable: a service does not answer.
    """
    counts = await partition_counts(settings)
    for name, count in sorted(counts.items()):
        if count not in (None, settings.partitions, to) and name != REGION_CONTROL:
            raise Refused(
                f"{name} has {count} partitions, the region has {settings.partitions}: see `notify-streams topics check`"
            )
    if (restore := await MaintenanceLog(shards, settings.outbox.transaction_timeout_s).under_way()) is not None:
        raise Refused(f"`notify-streams {restore.verb}` has not ended: run it again to its end")
    if missing := [name for name, count in counts.items() if count is None]:
        raise Refused(f"{missing[0]} is missing: run `notify-streams topics ensure --region {settings.region}`")
    for shard in range(len(shards)):
        if await is_mongos(shards.client(shard)):
            raise Refused(
                "behind a mongos a document cannot change its bucket in place: grow a region whose shards are replica sets"
            )
    for finding in await check_shards(settings, shards):
        if not finding.holds:
            raise Refused(f"shard {finding.shard}, {finding.what}: {finding.found}: {finding.remedy}")


async def check_drained(settings: Settings, shards: Shards, topics: TopicReader, producer: Producer) -> None:
    """Publish what stopped workers left, as their next owners do; then no channel message may be waiting, because it would keep its bucket.

    Triggers and records about users may wait: their readers give them the right partition.

    Raises:
        Refused: channel messages wait.
        StoreUnavailable, RetryLater: a service does not answer.
    """
    for role in ROLES:
        await Relay(role, shards, producer, settings.outbox.transaction_timeout_s).drain(shards.all_buckets())
    admin = kafka.admin(settings.kafka_connection(), request_timeout_s=settings.broker.request_timeout_s)
    await admin.start()
    try:
        lag = await LagReader(settings, topics, shards, admin).lag()
    finally:
        await admin.close()
    waiting = {role: lag[role] for role in CHANNEL_ROLES if lag[role]} | (
        {"outbox": lag["outbox"]} if lag["outbox"] else {}
    )
    if waiting:
        words = ", ".join(f"{name}: {count}" for name, count in waiting.items())
        raise Refused(
            f"channel messages wait ({words}): run the channel workers until none does (`notify-streams run` shows it), then stop them"
        )


async def check_books(settings: Settings) -> None:
    """Raises:
    Refused: the audit has differences.
    StoreUnavailable: a service does not answer.
    """
    report = await audit([settings])
    if report["differences"]:
        first = report["differences"][0]
        raise Refused(
            f"the audit has {len(report['differences'])} differences ({first['check']} in {first['where']}): `notify-streams audit` "
            "must hold before the region grows"
        )
