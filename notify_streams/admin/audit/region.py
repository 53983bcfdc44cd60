"""Gathers one region's facts and compares them; then the regions with each other."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zlib import crc32

from notify_streams.admin.audit.compare import compare, summary
from notify_streams.admin.audit.cross_region import compare_regions
from notify_streams.admin.audit.database import read_database
from notify_streams.admin.audit.provider_log import read_provider_log
from notify_streams.admin.audit.snapshot import ProviderAcceptance, RegionSnapshot
from notify_streams.admin.audit.topics import Topics
from notify_streams.errors import RetryLater, StoreUnavailable
from notify_streams.records.partitioner import bucket_of
from notify_streams.regions.consumer_groups import forward_lag
from notify_streams.regions.failover.log import KafkaControlLog
from notify_streams.regions.forwarding.headers import HOPS, ORIGIN, TARGET
from notify_streams.roles import CHANNEL_ROLES
from notify_streams.routing.outcome_records import SOURCE
from notify_streams.stores.mongo import Shards
from notify_streams.topics import DEAD_LETTERS, FORWARDED, USER_SIGNUPS, forward_topic, trigger_topics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from notify_streams.regions.failover.protocol import ControlRecord
    from notify_streams.settings import Settings
    from notify_streams.transport import Record


async def audit(regions: Sequence[Settings], say: Callable[[str], None] = lambda line: None) -> dict[str, Any]:
    """The whole report: ``{"holds", "differences", "in_flight", "repeats", "regions"}``.

    Raises:
        StoreUnavailable: a service of a region does not answer; nothing can be said then.
    """
    differences: list[dict[str, Any]] = []
    in_flight: list[dict[str, Any]] = []
    repeats: list[dict[str, Any]] = []
    summaries: dict[str, Any] = {}
    known: dict[str, RegionSnapshot] = {}
    for settings in regions:
        say(f"reading region {settings.region}")
        facts = known[settings.region] = await gather(settings)
        summaries[settings.region] = summary(facts)
        for found in compare(settings, facts):
            (in_flight if found.in_flight else differences).append(asdict(found))
    for found in compare_regions(known):
        (repeats if found.repeated else in_flight if found.in_flight else differences).append(asdict(found))
    return {
        "holds": not differences and not in_flight,
        "differences": differences,
        "in_flight": in_flight,
        "repeats": repeats,
        "regions": summaries,
    }


async def gather(settings: Settings) -> RegionSnapshot:
    """Everything that one region's audit compares. Topics first: what they hold, the database must know."""
    facts = RegionSnapshot(settings.region)
    for topic in CHANNEL_ROLES:
        facts.deliveries[topic] = {}
        facts.published[topic] = Counter()
    triggers = trigger_topics(settings)
    forwards = {forward_topic(region) for region in settings.regions if region != settings.region}
    async with Topics(settings) as topics:
        facts.extents = await topics.extents((*triggers, USER_SIGNUPS))
        async for topic, record in topics.read((*triggers, *CHANNEL_ROLES, *forwards, DEAD_LETTERS)):
            if topic in facts.published:
                facts.published[topic][_header(record, "id")] += 1
            elif topic == DEAD_LETTERS:
                facts.dead_letters[":".join(_header(record, name) for name in ("topic", "partition", "offset"))] += 1
            elif source := _header(record, SOURCE):
                if topic in forwards:
                    _handed(facts, topic, record, source)
                    continue
                if topic == FORWARDED:
                    facts.arrived.add(_way(record, source))
                if source.startswith(f"{topic}:") and not _from_elsewhere(settings, topic, record, source):
                    facts.repartitioned[source] += 1
    for region in settings.remote_kafka:
        facts.waiting_for[region] = await forward_lag(settings.kafka_connection(), settings.region, region)
    if settings.remote_kafka:
        facts.changes = await _changes(settings)
    shards = Shards(settings)
    await shards.start()
    try:
        await shards.learn()
        await read_database(shards, facts)
    finally:
        await shards.close()
    if settings.sandbox_record is not None:
        facts.accepted = _accepted(read_provider_log(Path(settings.sandbox_record)))
    return facts


async def _changes(settings: Settings) -> list[ControlRecord]:
    """The changes of who serves whom that have come to their end, by one region's log.

    Raises:
        StoreUnavailable: its Kafka does not answer.
    """
    control = KafkaControlLog(settings.region, settings.kafka_connection())
    try:
        records, _ = await control.read()
    except RetryLater as error:
        raise StoreUnavailable(str(error)) from error
    finally:
        await control.close()
    return [record for record in records if record.step == "serve"]


def _handed(facts: RegionSnapshot, topic: str, record: Record, source: str) -> None:
    """A trigger on its way to another region; what else goes there is no concern of the books."""
    if _header(record, TARGET) == FORWARDED:
        facts.forwarded[source] += 1
        facts.handed_to.setdefault(topic.removeprefix("forward."), set()).add(_way(record, source))


def _way(record: Record, source: str) -> str:
    """What tells a forwarded trigger from every other one, on both sides of its way."""
    return f"{_header(record, ORIGIN)}:{_header(record, HOPS)}:{source}:{crc32(record.value or b'')}"


def _from_elsewhere(settings: Settings, topic: str, record: Record, source: str) -> bool:
    """A trigger forwarded a second time names a place in the middle region's topic of the same name: its user's own bucket there."""
    if topic != FORWARDED or record.key is None:
        return False
    bucket = bucket_of(record.key.decode("utf-8", "replace"), settings.partitions)
    return source.split(":")[1] == str(bucket)


def _accepted(lines: Iterable[Any]) -> dict[str, ProviderAcceptance]:
    found: dict[str, ProviderAcceptance] = {}
    for line in lines:
        one = found.setdefault(line.delivery_id, ProviderAcceptance())
        one.times += 1
        one.marked += line.possible_duplicate
    return found


def _header(record: Record, wanted: str) -> str:
    """The last one of the name: ours follow those that a client sent, and a client's may have no content."""
    found = b""
    for name, content in record.headers:
        if name == wanted:
            found = content or b""
    return found.decode("utf-8", "replace")
