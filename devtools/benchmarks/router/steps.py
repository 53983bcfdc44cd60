"""`notify-streams bench steps`: CPU of a router worker for each step, in memory.

Runs the real code on the load of `bench router`, without services or network. What requests cost beyond these steps is the services' time
and the clients' time for a request, which a batch shares.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import time
from collections import Counter, defaultdict
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import click
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from bson.codec_options import DEFAULT_CODEC_OPTIONS
from pymongo import message as wire

from devtools.benchmarks.router.load import TOPIC, bench_users, triggers, user_uploads
from notify_streams.cli.output import as_json, print_result
from notify_streams.gc_tuning import tune_gc
from notify_streams.outbox.dedup_cache import DedupCache
from notify_streams.outbox.flush_plan import drop_duplicates, plan_flush
from notify_streams.outbox.publisher import rows_by_partition
from notify_streams.preferences.categories import channels_of_templates, configured_categories
from notify_streams.preferences.row_codec import EMPTY_ROW
from notify_streams.records.ids import new_flush_id
from notify_streams.records.partitioner import bucket_of
from notify_streams.regions.failover.placement import Placement
from notify_streams.regions.failover.protocol import initial_homes
from notify_streams.regions.locations import LocationCodec
from notify_streams.routing.outcome_records import id_conflict
from notify_streams.routing.recipient_lookup import RecipientLookup
from notify_streams.routing.router import Router
from notify_streams.settings import load_settings
from notify_streams.templates.catalog import configured_templates
from notify_streams.topics import USER_LOCATIONS
from notify_streams.transport import RecordBatch, TransportSettings
from notify_streams.transport.batch_producer import build_batches
from notify_streams.transport.tables.memory_store import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from notify_streams.outbox.decided_batch import DecidedBatch
    from notify_streams.settings import Settings

_REGION: Final = "us"
#: Kafka's codec numbers.
_CODECS: Final = {None: 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
_UNCOMPRESSED: Final = 0


@click.command("steps")
@click.option("--triggers", "count", default=40_000, show_default=True, type=click.IntRange(1_000))
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1))
@as_json
def steps(count: int, rounds: int, as_json: bool) -> None:
    """Measure where a router worker spends its CPU: microseconds a trigger for each step."""
    found, outcomes = asyncio.run(measure(count, rounds))
    result = {"unit": "us of CPU a trigger", "triggers": count, "steps": found, "outcomes": outcomes}
    total = found | {"all steps, for a trigger with 1.5 notifications": sum(found.values())}
    print_result(as_json, result, [f"{spent:7.2f} us  {name}" for name, spent in total.items()])


async def measure(count: int, rounds: int) -> tuple[dict[str, float], Counter[str]]:
    """CPU microseconds a trigger for each step, medians over the rounds; triggers of one round by outcome."""
    settings = load_settings(_REGION, environ={})
    categories = configured_categories()
    templates = configured_templates(channels_of_templates(categories))
    router = Router(settings, categories, templates, "standard", _recipients(settings), _FixedPlacement())
    batches = _batches(settings, count)
    runs: list[dict[str, float]] = []
    threshold = gc.get_threshold()
    tune_gc()
    try:
        for _ in range(rounds):
            clock = _Clock()
            outcomes = await _round(settings, router, batches, clock)
            runs.append({name: 1e6 * spent / count for name, spent in clock.spent.items()})
    finally:
        gc.unfreeze()
        gc.set_threshold(*threshold)
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}, outcomes


async def _round(settings: Settings, router: Router, batches: Sequence[RecordBatch], clock: _Clock) -> Counter[str]:
    recent = DedupCache()
    decided: list[DecidedBatch] = []
    for batch in batches:
        with clock("validate, join, decide, encode notifications and channel messages"):
            decided.append(await router.decide_batch(batch, _NoAck()))
    outcomes = Counter(entry.outcome.value for batch in decided for entry in batch.entries)
    limits = {"max_batch_bytes": 1_000_000, "max_record_bytes": 1_000_000}
    compression = _CODECS[TransportSettings().compression]
    while decided:
        part: list[DecidedBatch] = []
        while decided and sum(len(one.entries) for one in part) < settings.outbox.flush_records:
            part.append(decided.pop())
        with clock("look for repeats"):
            drop_duplicates(part, recent, id_conflict)
        with clock("plan the flush: group, pack rows, sums"):
            flush = plan_flush(new_flush_id(), "standard", part, datetime.now(UTC))
        with clock("MongoDB's messages: notifications and rows"):
            for documents in (flush.notifications, [row.document for row in flush.rows]):
                command = {"insert": "x", "ordered": True, "documents": documents}
                wire._op_msg(0, command, "db", None, DEFAULT_CODEC_OPTIONS)
        with clock("Kafka's batches"):
            built = [
                builder
                for (topic, partition), rows in rows_by_partition(flush.rows).items()
                for row in rows
                for builder in build_batches(topic, partition, row.records, now_ms=1, compression=compression, **limits)
            ]
        with clock("compress"):
            for builder in built:
                builder._build()
        with clock("remember, and free"):
            for one in part:
                recent.add({entry.notification: entry.fingerprint for entry in one.entries if entry.notification})
            del flush, built, one
            part.clear()
    return outcomes


class _Clock:
    """CPU seconds by step."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = defaultdict(float)

    @contextmanager
    def __call__(self, step: str) -> Iterator[None]:
        began = time.process_time()
        yield
        self.spent[step] += time.process_time() - began


class _FixedPlacement:
    placement: Placement | None = Placement(_REGION, initial_homes((_REGION, "eu", "asia")))

    async def changed(self, epoch: int) -> Placement:
        raise NotImplementedError


class _NoAck:
    """The acknowledgement of a batch that no consumer delivered."""

    def ack(self) -> None: ...

    def refuse(self, position: int) -> None: ...

    def current(self) -> bool:
        return True


class _NoChoices:
    async def rows_for(self, bucket: int, user_ids: Sequence[str]) -> list[bytes]:
        return [EMPTY_ROW] * len(user_ids)


def _recipients(settings: Settings) -> RecipientLookup:
    homes: dict[str, int] = {}
    rows, contacts = LocationCodec(settings.regions, settings.partitions), MemoryStore()
    for topic, key, value, _ in user_uploads(bench_users(), _REGION):
        user_id = key or ""
        bucket = bucket_of(user_id, settings.partitions)
        if topic == USER_LOCATIONS:
            found = rows.decode(user_id.encode(), value, bucket)
            assert found is not None
            homes[found[0]] = found[1]
        else:
            contacts.rows(bucket)[user_id.encode()] = value
    return RecipientLookup(
        lambda user_ids: [rows.unpack(homes[user_id]) for user_id in user_ids], contacts, _NoChoices()
    )


def _batches(settings: Settings, count: int) -> list[RecordBatch]:
    """The triggers as aiokafka parses a fetched batch."""
    builders: dict[int, Any] = {}
    for _, key, value, _ in triggers(count, "00"):
        user_id = key or ""
        bucket = bucket_of(user_id, settings.partitions)
        if bucket not in builders:
            builders[bucket] = DefaultRecordBatchBuilder(2, _UNCOMPRESSED, 0, -1, -1, -1, 1 << 30), 0
        builder, number = builders[bucket]
        builder.append(number, 0, user_id.encode(), value, [])
        builders[bucket] = builder, number + 1
    return [
        RecordBatch(TOPIC, bucket, 0, number, list(DefaultRecordBatch(bytearray(builder.build()))))
        for bucket, (builder, number) in builders.items()
    ]
