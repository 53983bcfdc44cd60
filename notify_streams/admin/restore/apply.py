"""Makes a region whose databases were restored ready for its workers.

The steps are in an order that lets each rely on the ones before: nothing stale in Redis, no timer of a dead worker, the erased erased, then
the books, then the topics. A step that is done is not made again by a later run; one that was interrupted is.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from notify_streams.admin.audit.topics import TopicReader
from notify_streams.admin.connections import connected
from notify_streams.admin.restore import services
from notify_streams.admin.restore.books import Books
from notify_streams.admin.restore.erasures import ErasedAgain, read_erasure_log
from notify_streams.admin.restore.situation import read_situation, running_workers
from notify_streams.admin.table_rebuild import TABLES, rebuild
from notify_streams.errors import Refused
from notify_streams.failpoints import failpoint
from notify_streams.stores.maintenance import RESTORE, MaintenanceLog

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from notify_streams.admin.connections import Connections
    from notify_streams.admin.restore.erasures import ErasedPerson
    from notify_streams.admin.restore.situation import Situation
    from notify_streams.preferences.categories import Categories
    from notify_streams.settings import Settings
    from notify_streams.stores.maintenance import Maintenance
    from notify_streams.stores.mongo import Document

KafkaChoice = Literal["auto", "kept", "new"]


@dataclass(frozen=True, slots=True)
class Options:
    """What an operator decides."""

    kafka: KafkaChoice = "auto"
    #: In a kept Kafka: records before this time are left out. None: none is, and what was sent after the backup may be sent twice.
    since: datetime | None = None
    #: Files of `users erased`.
    erased: Sequence[Path] = ()
    #: Other regions that do not answer.
    without: Collection[str] = field(default=())


async def plan(settings: Settings, categories: Categories, options: Options) -> dict[str, Any]:
    """What `apply` would do: ``{"plan", "findings", "running", "under_way", "erasure_log"}``. Changes nothing.

    Raises:
        RetryLater: a service does not answer.
        Refused: topics are missing.
    """
    logged = read_erasure_log(options.erased, settings.partitions)
    async with connected(settings, categories) as region, TopicReader(settings) as topics:
        await region.shards.refresh_directory(require_all=True)
        log = MaintenanceLog(region.shards, settings.outbox.transaction_timeout_s)
        one = await log.under_way()
        begun = None if one is None or one.verb != RESTORE else one.options
        situation = await read_situation(settings, region.shards, topics, options.kafka, options.since, begun)
        return {
            "plan": situation.summary("" if one is None else one.id),
            "findings": situation.findings,
            "running": await running_workers(settings, region.preferences.redis),
            "under_way": None if one is None else f"{one.verb} of {one.began_at:%Y-%m-%d %H:%M:%S} UTC",
            "erasure_log": len(logged),
        }


async def apply(
    settings: Settings, categories: Categories, options: Options, report: Callable[[str], None]
) -> dict[str, Any]:
    """Make every step that is not done; what each has found, by its name.

    Raises:
        Refused: workers run, other work is under way, or the operator has to decide something first.
        RetryLater: a service does not answer. What is done stays done: run it again.
    """
    logged = read_erasure_log(options.erased, settings.partitions)
    async with AsyncExitStack() as closing:
        region = await closing.enter_async_context(connected(settings, categories))
        topics = await closing.enter_async_context(TopicReader(settings))
        # A bucket that has moved would be read on the wrong shard.
        await region.shards.refresh_directory(require_all=True)
        log = MaintenanceLog(region.shards, settings.outbox.transaction_timeout_s)
        one = await log.under_way()
        since = options.since
        if one is None:
            situation = await read_situation(settings, region.shards, topics, options.kafka, since)
            if situation.findings:
                raise Refused("; ".join(situation.findings))
            if since is not None and situation.is_new:
                raise Refused("--since is for a Kafka that was kept: a new one has no record of before")
            decided = situation.options() | {"since": since, "erased": len(logged)}
            # First this, then the look for workers: one that starts in between waits.
            one = await log.begin(RESTORE, decided)
            if running := await running_workers(settings, region.preferences.redis):
                await log.withdraw(one)
                raise Refused(_running(running))
        else:
            if one.verb != RESTORE:
                raise Refused(f"`notify-streams {one.verb}` is under way: run it to its end first")
            if one.options["erased"] != len(logged):
                raise Refused(
                    f"the restore of {one.began_at:%Y-%m-%d %H:%M} UTC was begun with {one.options['erased']} persons of the "
                    f"erasure log, not {len(logged)}: give the same --erased"
                )
            report(f"going on with the restore of {one.began_at:%Y-%m-%d %H:%M:%S} UTC")
            situation = await read_situation(settings, region.shards, topics, "auto", None, one.options)
        for name, step in _steps(settings, region, topics, situation, one, logged, options.without).items():
            if name in one.done:
                continue
            if running := await running_workers(settings, region.preferences.redis):
                raise Refused(_running(running))
            report(f"{name}: begun")
            found = await step()
            failpoint("after_restore_step")
            await log.step_done(one, name, found)
            report(f"{name}: {_said(found)}")
        await log.finish(one)
        return {"id": one.id, "began_at": one.began_at, "steps": one.found}


def _steps(
    settings: Settings,
    region: Connections,
    topics: TopicReader,
    situation: Situation,
    one: Maintenance,
    logged: Mapping[str, ErasedPerson],
    without: Collection[str],
) -> Mapping[str, Callable[[], Awaitable[Document]]]:
    books = Books(settings, region.shards, region.producer, situation)
    preferences, producer = region.preferences, region.producer

    async def erasures() -> Document:
        if settings.public.address_key is None and not logged:
            return {}  # no person can have been erased
        return await ErasedAgain(settings, region, logged, without, is_kafka_new=situation.is_new).run()

    async def tables() -> Document:
        done = await rebuild(settings, list(TABLES), lambda name, bucket, batch: None)
        return {name: {"published": found.published, "removed": found.removed} for name, found in done.items()}

    return {
        "redis": lambda: services.forget_deltas(preferences),
        "timers": books.timers,
        "erasures": erasures,
        "outbox": books.outbox,
        "positions": lambda: books.positions(one, topics),
        "lost": lambda: books.lost_deliveries(one, topics, preferences.erased),
        "groups": lambda: services.rewind_groups(settings, topics, situation),
        "choices": lambda: services.choices_of_other_regions(settings, situation, producer, without),
        "locations": lambda: services.publish_locations(settings, situation, producer),
        "tables": tables,
    }


def _running(roles: Sequence[str]) -> str:
    return (
        f"workers of this region run ({', '.join(roles)}): stop them all, wait until their sessions have ended, "
        "and run it again"
    )


def _said(found: Document) -> str:
    return ", ".join(f"{name} {count}" for name, count in found.items()) or "nothing to do"
