"""Takes a snapshot of each region, compares it, then compares the regions."""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict
from functools import partial
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final
from zlib import crc32

import msgspec

from notify_streams.admin.audit.compare import compare, summary
from notify_streams.admin.audit.cross_region import RegionComparison
from notify_streams.admin.audit.database import count_rows, read_database, unmoved_buckets
from notify_streams.admin.audit.parts import HANDED_TO, AcceptedRow, EventRow, MessageRow, Parts, SourceRow, parts_for
from notify_streams.admin.audit.provider_log import AcceptedMessage, read_provider_log
from notify_streams.admin.audit.region_part import read_part
from notify_streams.admin.audit.repartitioned import is_released, rows_of
from notify_streams.admin.audit.sealed import read_sealed_sums
from notify_streams.admin.audit.snapshot import RegionSnapshot
from notify_streams.admin.audit.topics import TopicReader
from notify_streams.admin.audit.totals import RegionTotals
from notify_streams.errors import RetryLater, StoreUnavailable
from notify_streams.field_errors import DECODE_ERRORS
from notify_streams.records.channel_message import Instant
from notify_streams.records.origin import SOURCE_HEADER
from notify_streams.regions.consumer_groups import committed_by_role, committed_offsets, forward_lag
from notify_streams.regions.failover.log import KafkaControlLog
from notify_streams.regions.forwarding.headers import HOPS, ORIGIN, TARGET
from notify_streams.roles import CHANNEL_ROLES, LANES, lane_of
from notify_streams.routing.waiting_triggers import WAITED_HEADER
from notify_streams.stores.maintenance import RESTORE, MaintenanceLog
from notify_streams.stores.mongo import Shards
from notify_streams.topics import DEAD_LETTERS, FORWARDED, USER_SIGNUPS, event_topic, forward_topic, trigger_topics

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from aiokafka import TopicPartition

    from notify_streams.regions.failover.protocol import ControlRecord
    from notify_streams.settings import Settings
    from notify_streams.transport import Record


_AGAIN_S: Final = 1.0
#: A broker under load answers late.
_GROUPS_S: Final = 30.0
#: Of Unix milliseconds; any client may have written the text.
_TIME_DIGITS: Final = 16


class _Source(msgspec.Struct):
    """The fields of a channel message that name its trigger, and when it was decided."""

    source_topic: str = ""
    source_offset: int = -1
    decided_at: Instant | None = None


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
    with TemporaryDirectory(prefix="notify-audit-") as folder:
        count = parts_for(max([await _rows(settings) for settings in regions]))
        parts = {settings.region: Parts(Path(folder) / settings.region, count) for settings in regions}
        known: dict[str, RegionSnapshot] = {}
        # Before the first topic of any region is read: what is forwarded from now on may arrive in a region that was read before.
        forwarded = {one.region: await _forwarded(one) for one in regions}
        for settings in regions:
            report(f"reading region {settings.region}")
            known[settings.region] = await take_snapshot(settings, parts[settings.region], forwarded[settings.region])
        totals = {region: RegionTotals() for region in known}
        between = RegionComparison(known)
        for number in range(count):
            read = {region: read_part(one, number) for region, one in parts.items()}
            for region, part in read.items():
                totals[region].add(known[region], part)
            between.add(read)
            await asyncio.sleep(0)
    for settings in regions:
        for found in compare(settings, known[settings.region], totals[settings.region]):
            (in_flight if found.in_flight else differences).append(asdict(found))
    for found in between.differences():
        (repeats if found.repeated else in_flight if found.in_flight else differences).append(asdict(found))
    return {
        "holds": not differences and not (in_flight and settled),
        "differences": differences,
        "in_flight": in_flight,
        "repeats": repeats,
        "regions": {region: summary(snapshot, totals[region]) for region, snapshot in known.items()},
    }


async def _rows(settings: Settings) -> int:
    """About how many rows the region has."""
    async with Shards(settings) as shards:
        return await count_rows(shards)


async def _forwarded(settings: Settings) -> Mapping[TopicPartition, int]:
    """What the region has forwarded to others for certain: the positions in its topics `forward.<region>`."""
    if not settings.remote_kafka:
        return {}
    return await committed_offsets(settings.kafka_connection(), settings.region, "forward")


async def _committed(settings: Settings) -> dict[tuple[str, str, int], int]:
    """What the groups of the roles with ledgers have committed.

    Raises:
        StoreUnavailable: Kafka does not answer.
    """
    roles = (*LANES, "registry", *CHANNEL_ROLES)
    try:
        found = await committed_by_role(settings.kafka_connection(), settings.region, roles, _GROUPS_S)
    except RetryLater as error:
        raise StoreUnavailable(str(error)) from error
    return {
        (role, place.topic, place.partition): offset
        for role, offsets in found.items()
        for place, offset in offsets.items()
    }


async def take_snapshot(settings: Settings, parts: Parts, forwarded: Mapping[TopicPartition, int]) -> RegionSnapshot:
    """The snapshot of one region: the database first, then the provider log, then what its topics hold before the fence.

    `forwarded`: what its role forward had committed before the topics of the first region were read.
    """
    snapshot = RegionSnapshot(settings.region, retention=settings.retention)
    snapshot.committed = await _committed(settings)
    async with Shards(settings) as shards:
        async with unmoved_buckets(shards):
            await read_database(shards, snapshot, parts, settings.event_systems())
        log = MaintenanceLog(shards, settings.outbox.transaction_timeout_s)
        snapshot.restores = await log.finished(RESTORE)
        snapshot.former_buckets = {one: shards.directory.former_buckets(one) for one in shards.all_buckets()}
    # Before the topics: so they hold the message of each delivery that was accepted, with the offset that places it before or after the fence.
    if settings.sandbox_record is not None:
        snapshot.has_log = True
        snapshot.logged_channels = settings.providers.sandbox_channels()
        kept_since = snapshot.last_kept_since()
        for line in read_provider_log(Path(settings.sandbox_record), on_invalid=snapshot.note_invalid_line):
            if line.channel in snapshot.logged_channels:
                parts.add(accepted_row(snapshot, line, kept_since))
    await _read_topics(settings, snapshot, parts)
    parts.write()
    async with Shards(settings) as shards:
        since = partial(_since, settings, snapshot.held_since)
        async with unmoved_buckets(shards):
            snapshot.sealed = await read_sealed_sums(shards, snapshot.ledgers, since, snapshot.kept_since)
    for region in settings.remote_kafka:
        snapshot.waiting_for[region] = await forward_lag(
            settings.kafka_connection(), settings.region, region, committed=forwarded
        )
    if settings.remote_kafka:
        snapshot.changes = await _changes(settings)
    return snapshot


async def _read_topics(settings: Settings, snapshot: RegionSnapshot, parts: Parts) -> None:
    triggers = trigger_topics(settings)
    #: Topics whose positions and outcomes a ledger has.
    ledgered = (*triggers, USER_SIGNUPS)
    forwards = {forward_topic(region) for region in settings.regions if region != settings.region}
    events = set(map(event_topic, settings.event_systems()))
    read = (*triggers, *CHANNEL_ROLES, *forwards, DEAD_LETTERS, *events)
    async with TopicReader(settings) as topics:
        snapshot.extents = await topics.extents((*ledgered, *CHANNEL_ROLES))
        async for place, record in topics.read(read):
            topic, partition = place.topic, place.partition
            if topic in CHANNEL_ROLES:
                if row := message_row(snapshot, topic, partition, record):
                    parts.add(row)
                continue
            if topic in events:
                snapshot.events_since.setdefault((topic, partition), record.timestamp)
                parts.add(EventRow(_event_id(record)))
                continue
            if topic == DEAD_LETTERS:
                source = ":".join(_header(record, name) for name in ("topic", "partition", "offset"))
                if (
                    _header(record, "topic") in ledgered
                    and not snapshot.restored().is_repeated(record.timestamp / 1000, source)
                    and snapshot.is_before("dead", source)
                ):
                    parts.add(SourceRow("dead", source))
                continue
            source = _header(record, SOURCE_HEADER)
            is_repeated = bool(source) and snapshot.restored().is_repeated(record.timestamp / 1000, source)
            if topic in forwards:
                # Other forwarded records have no ledger and are skipped.
                if _header(record, TARGET) == FORWARDED and snapshot.is_before("forwarded", source):
                    if not is_repeated:
                        parts.add(SourceRow("forwarded", source))
                    kind = HANDED_TO + topic.removeprefix(forward_topic(""))
                    at = record.timestamp / 1000
                    parts.add(SourceRow(kind, _forward_id(record, source), partition=partition, at=at))
                continue
            waited = _header(record, WAITED_HEADER)
            if is_released(topic, partition, source, waited, snapshot.former_buckets.get(partition, ())):
                parts.add(SourceRow("waited", waited))
                continue
            if topic == FORWARDED and source:
                parts.add(SourceRow("arrived", _forward_id(record, source)))
            for one in rows_of(settings, topic, partition, record, "" if is_repeated else source):
                parts.add(one)
        # Last, because retention may have deleted more meanwhile.
        began = await topics.kept_since(read)
    clocks_s = settings.retention.clock_difference.total_seconds()
    for place, at in began.items():
        snapshot.held_since[place] = at + clocks_s
        if place[0] in events:
            snapshot.events_since[place] = int(at * 1000)
    if (kafka_since := snapshot.restored().kafka_since) is not None:
        for place in product(read, range(settings.partitions)):
            snapshot.held_since[place] = max(kafka_since, snapshot.held_since.get(place, 0.0))


def _since(
    settings: Settings, held_since: Mapping[tuple[str, int], float], kind: str, topic: str, partition: int
) -> float:
    """Since when all records are there that a ledger's source counts as `kind` (Unix seconds); 0: none was deleted so far."""
    match kind:
        case "dead":
            places = {(DEAD_LETTERS, partition)}
        case "forwarded":
            places = {(forward_topic(region), partition) for region in settings.regions}
        case "repartitioned":
            # The copy is in another partition.
            triggers = trigger_topics(settings)
            places = {place for place in held_since if place[0] in triggers}
        case _:
            places = {(topic, partition)}
    return max((held_since.get(place, 0.0) for place in places), default=0.0)


def accepted_row(snapshot: RegionSnapshot, line: AcceptedMessage, kept_since: float) -> AcceptedRow:
    """Without a decision in the line, the notification is as old as the call."""
    decided_at = line.decided_at or ""
    is_time = len(decided_at) <= _TIME_DIGITS and decided_at.isdecimal()
    expired = snapshot.may_have_expired(int(decided_at) / 1000 if is_time else line.at, kept_since)
    was_before = snapshot.restored().was_before(line.at)
    return AcceptedRow(line.delivery_id, line.to_sha, line.possible_duplicate, was_before, expired)


def _event_id(record: Record) -> str:
    """Empty for a record that is no event."""
    try:
        return _read_event_id(record.value or b"").event_id
    except DECODE_ERRORS:
        return ""


def message_row(snapshot: RegionSnapshot, topic: str, partition: int, record: Record) -> MessageRow | None:
    """None for a message that the channel role left out."""
    try:
        source = _read_source(record.value or b"")
    except DECODE_ERRORS:
        source = _Source()  # the engine counts it as foreign
    place = source.source_topic, source.source_offset
    if snapshot.restored().is_superseded(topic, partition, record.offset, *place):
        return None
    is_after = bool(source.source_topic) and snapshot.fence().is_behind(
        lane_of(topic), source.source_topic, partition, source.source_offset
    )
    expired = source.decided_at is not None and _may_have_expired(snapshot, source.decided_at, partition, record)
    is_taken = not snapshot.fence().is_behind(topic, topic, partition, record.offset)
    return MessageRow(topic, _header(record, "id"), is_after, expired, partition if is_taken else None)


def _may_have_expired(snapshot: RegionSnapshot, decided_at: datetime, partition: int, record: Record) -> bool:
    """Whether the notification of a message may be deleted by now. It was there when the message was published."""
    decided_s = decided_at.timestamp()
    was_there = record.timestamp / 1000 - decided_s <= snapshot.retention.notifications.total_seconds()
    return was_there and snapshot.may_have_expired(decided_s, snapshot.kept_since(partition))


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


def _forward_id(record: Record, source: str) -> str:
    """Identifies a forwarded trigger in both regions."""
    return f"{_header(record, ORIGIN)}:{_header(record, HOPS)}:{source}:{crc32(record.value or b'')}"


def _header(record: Record, wanted: str) -> str:
    """The last header of the name: ours follow those of the client. A client's header may have no value."""
    found = b""
    for name, content in record.headers:
        if name == wanted:
            found = content or b""
    return found.decode("utf-8", "replace")
