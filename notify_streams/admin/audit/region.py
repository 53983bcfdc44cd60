"""Takes a snapshot of each region, compares it, then compares the regions."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from zlib import crc32

import msgspec

from notify_streams.admin.audit.compare import compare, summary
from notify_streams.admin.audit.cross_region import compare_regions
from notify_streams.admin.audit.database import read_database
from notify_streams.admin.audit.provider_log import read_provider_log
from notify_streams.admin.audit.repartitioned import RepartitionedRecords
from notify_streams.admin.audit.snapshot import ProviderAcceptance, RegionSnapshot
from notify_streams.admin.audit.topics import TopicReader
from notify_streams.errors import RetryLater, StoreUnavailable
from notify_streams.regions.consumer_groups import forward_lag
from notify_streams.regions.failover.log import KafkaControlLog
from notify_streams.regions.forwarding.headers import HOPS, ORIGIN, TARGET
from notify_streams.roles import CHANNEL_ROLES, LANES, lane_of
from notify_streams.routing.outcome_records import SOURCE_HEADER
from notify_streams.routing.waiting_triggers import WAITED_HEADER
from notify_streams.stores.mongo import Shards
from notify_streams.topics import DEAD_LETTERS, FORWARDED, USER_SIGNUPS, event_topic, forward_topic, trigger_topics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from notify_streams.admin.audit.snapshot import Fence
    from notify_streams.regions.failover.protocol import ControlRecord
    from notify_streams.settings import Settings
    from notify_streams.transport import Record


_AGAIN_S: Final = 1.0


class _Source(msgspec.Struct):
    """The fields of a channel message that name its trigger."""

    source_topic: str = ""
    source_offset: int = -1


class _EventId(msgspec.Struct):
    event_id: str


_read_event_id: Final = msgspec.json.Decoder(_EventId).decode
_read_source: Final = msgspec.json.Decoder(_Source).decode


async def audit(
    regions: Sequence[Settings],
    report: Callable[[str], None] = lambda line: None,
    *,
    wait_s: float | None = None,
) -> dict[str, Any]:
    """The whole report: ``{"holds", "differences", "in_flight", "repeats", "regions"}``.

    What is under way on a live system is listed, and no difference. With `wait_s` the audit is repeated so long until nothing is under
    way, and does not hold if something still is.

    Raises:
        StoreUnavailable: a service of a region does not answer; there is no report then.
    """
    deadline = None if wait_s is None else time.monotonic() + wait_s
    while True:
        found = await _audit(regions, report, settled=deadline is not None)
        if deadline is None or not found["in_flight"] or found["differences"] or time.monotonic() >= deadline:
            return found
        await asyncio.sleep(_AGAIN_S)


async def _audit(regions: Sequence[Settings], report: Callable[[str], None], *, settled: bool) -> dict[str, Any]:
    differences: list[dict[str, Any]] = []
    in_flight: list[dict[str, Any]] = []
    repeats: list[dict[str, Any]] = []
    summaries: dict[str, Any] = {}
    known: dict[str, RegionSnapshot] = {}
    for settings in regions:
        report(f"reading region {settings.region}")
        snapshot = known[settings.region] = await take_snapshot(settings)
        summaries[settings.region] = summary(snapshot)
        for found in compare(settings, snapshot):
            (in_flight if found.in_flight else differences).append(asdict(found))
    for found in compare_regions(known):
        (repeats if found.repeated else in_flight if found.in_flight else differences).append(asdict(found))
    return {
        "holds": not differences and not (in_flight and settled),
        "differences": differences,
        "in_flight": in_flight,
        "repeats": repeats,
        "regions": summaries,
    }


async def take_snapshot(settings: Settings) -> RegionSnapshot:
    """The snapshot of one region: the database first, then the provider log, then what its topics hold before the fence."""
    snapshot = RegionSnapshot(settings.region)
    async with Shards(settings) as shards:
        await shards.refresh_directory()
        await read_database(shards, snapshot, settings.event_systems())
    # Before the topics: so they hold the message of each delivery that was accepted, with the offset that places it before or after the fence.
    if settings.sandbox_record is not None:
        snapshot.logged_channels = settings.providers.sandbox_channels()
        accepted = read_provider_log(Path(settings.sandbox_record))
        snapshot.accepted = _accepted(line for line in accepted if line.channel in snapshot.logged_channels)
    await _read_topics(settings, snapshot)
    for region in settings.remote_kafka:
        snapshot.waiting_for[region] = await forward_lag(settings.kafka_connection(), settings.region, region)
    if settings.remote_kafka:
        snapshot.changes = await _changes(settings)
    return snapshot


async def _read_topics(settings: Settings, snapshot: RegionSnapshot) -> None:
    for topic in CHANNEL_ROLES:
        snapshot.deliveries.setdefault(topic, {})
        snapshot.published[topic] = Counter()
    triggers = trigger_topics(settings)
    #: Topics whose positions and outcomes a ledger has.
    ledgered = (*triggers, USER_SIGNUPS)
    forwards = {forward_topic(region) for region in settings.regions if region != settings.region}
    fence = snapshot.fence()
    repartitioned = RepartitionedRecords(settings)
    events = set(map(event_topic, settings.event_systems()))
    read = (*triggers, *CHANNEL_ROLES, *forwards, DEAD_LETTERS, *events)
    async with TopicReader(settings) as topics:
        snapshot.extents = await topics.extents((*ledgered, *CHANNEL_ROLES))
        snapshot.incomplete = {topic for (topic, _), extent in (await topics.extents(read)).items() if extent.first > 0}
        async for place, record in topics.read(read):
            topic = place.topic
            if topic in snapshot.published:
                _add_published(snapshot, fence, topic, place.partition, record)
                continue
            if topic in events:
                snapshot.events_since.setdefault((topic, place.partition), record.timestamp)
                snapshot.without_event.pop(_event_id(record), None)
                continue
            if topic == DEAD_LETTERS:
                if _header(record, "topic") in ledgered:
                    source = ":".join(_header(record, name) for name in ("topic", "partition", "offset"))
                    if _is_before(snapshot, fence, "dead", source):
                        snapshot.dead_letters[source] += 1
                continue
            source = _header(record, SOURCE_HEADER)
            if topic in forwards:
                if _is_before(snapshot, fence, "forwarded", source):
                    _add_forwarded(snapshot, topic, record, source)
                continue
            if waited := _header(record, WAITED_HEADER):
                snapshot.waited.add(waited)
                continue
            if topic == FORWARDED and source:
                snapshot.arrived.add(_forward_id(record, source))
            repartitioned.add(topic, place.partition, record, source)
    snapshot.repartitioned = Counter(
        {
            source: times
            for source, times in repartitioned.sources(snapshot.extents).items()
            if _is_before(snapshot, fence, "repartitioned", source)
        }
    )


def _event_id(record: Record) -> str:
    """Empty for a record that is no event."""
    try:
        return _read_event_id(record.value or b"").event_id
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""


def _add_published(snapshot: RegionSnapshot, fence: Fence, topic: str, partition: int, record: Record) -> None:
    """Count a channel message, or note that it was decided after the database was read."""
    identity = _header(record, "id")
    try:
        source = _read_source(record.value or b"")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        source = _Source()  # the engine counts it as foreign
    if source.source_topic and fence.is_behind(lane_of(topic), source.source_topic, partition, source.source_offset):
        snapshot.after_fence.add(identity)
    else:
        snapshot.published[topic][identity] += 1


def _is_before(snapshot: RegionSnapshot, fence: Fence, kind: str, source: str) -> bool:
    """Whether every role that could take the source record (``topic:partition:offset``) had passed it."""
    try:
        topic, partition, offset = source.rsplit(":", 2)
        place = topic, int(partition), int(offset)
    except ValueError:
        return True
    roles = ("registry",) if topic == USER_SIGNUPS else LANES
    behind = fence.count_behind(roles, *place)
    if 0 < behind < len(roles):
        snapshot.uncertain[kind] += 1
    return not behind


async def _changes(settings: Settings) -> list[ControlRecord]:
    """The finished changes of the placement in the region's control log.

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


def _add_forwarded(snapshot: RegionSnapshot, topic: str, record: Record, source: str) -> None:
    """Count a forwarded trigger. Other forwarded records have no ledger and are skipped."""
    if _header(record, TARGET) == FORWARDED:
        snapshot.forwarded[source] += 1
        snapshot.handed_to.setdefault(topic.removeprefix("forward."), set()).add(_forward_id(record, source))


def _forward_id(record: Record, source: str) -> str:
    """Identifies a forwarded trigger in both regions."""
    return f"{_header(record, ORIGIN)}:{_header(record, HOPS)}:{source}:{crc32(record.value or b'')}"


def _accepted(lines: Iterable[Any]) -> dict[str, ProviderAcceptance]:
    found: dict[str, ProviderAcceptance] = {}
    for line in lines:
        found.setdefault(line.delivery_id, ProviderAcceptance()).add(line.to_sha, marked=line.possible_duplicate)
    return found


def _header(record: Record, wanted: str) -> str:
    """The last header of the name: ours follow those of the client. A client's header may have no value."""
    found = b""
    for name, content in record.headers:
        if name == wanted:
            found = content or b""
    return found.decode("utf-8", "replace")
