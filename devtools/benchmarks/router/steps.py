"""`notify-streams bench steps`: CPU of a router worker for each step, in memory.

Runs the real code on the load of `bench router`, without services or network. What requests cost beyond these steps is the services' time
and the clients' time for a request, which a batch shares.
"""

from __future__ import annotations

import gc
import statistics
import tempfile
import time
from collections import Counter, defaultdict
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from bson.codec_options import DEFAULT_CODEC_OPTIONS
from pymongo import message as wire

from devtools.benchmarks.results import Goal, beside, report
from devtools.benchmarks.router.load import TOPIC, USERS, bench_user, bench_users, triggers, user_uploads
from devtools.benchmarks.tables.people import TOPICS, Row, open_tables, values_of
from notify_streams.cli.output import print_progress
from notify_streams.gc_tuning import tune_gc
from notify_streams.outbox.dedup_cache import DedupCache
from notify_streams.outbox.flush_plan import drop_duplicates, plan_flush
from notify_streams.outbox.publisher import rows_by_partition
from notify_streams.preferences.categories import channels_of_templates, configured_categories
from notify_streams.preferences.decision_check import DecisionCheck
from notify_streams.preferences.row_codec import EMPTY_ROW
from notify_streams.preferences.staleness_bound import staleness_bound_of
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
from notify_streams.topics import CONTACT_ROWS, PREFERENCE_ROWS, USER_LOCATIONS
from notify_streams.transport import RecordBatch, TransportSettings, in_memory, on_disk
from notify_streams.transport.batch_producer import build_batches

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from notify_streams.outbox.decided_batch import DecidedBatch
    from notify_streams.regions.locations import Location
    from notify_streams.settings import Settings
    from notify_streams.transport.tables.store import Store

_REGION: Final = "us"
#: Kafka's codec numbers.
_CODECS: Final = {None: 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
_UNCOMPRESSED: Final = 0
#: People whose rows are written at once.
_LOADED: Final = 100_000


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


async def measure_tables(count: int, rounds: int, people: int) -> dict[str, Any]:
    """All steps with tables in memory and on disk, in changing order, each round for other people."""
    settings = load_settings(_REGION, environ={})
    categories = configured_categories()
    templates = configured_templates(channels_of_templates(categories))
    with tempfile.TemporaryDirectory() as folder:
        stores: dict[str, Mapping[str, Store]] = {
            "memory": open_tables(settings, lambda topic: in_memory),
            "disk": open_tables(settings, lambda topic: on_disk(Path(folder) / topic)),
        }
        for tables in stores.values():
            _load(settings, tables, people)
        routers = {
            name: Router(settings, categories, templates, "standard", _lookup(settings, tables), _FixedPlacement())
            for name, tables in stores.items()
        }
        runs: dict[str, list[float]] = {name: [] for name in routers}
        tune_gc()
        for number in range(rounds + 1):  # the first one does not count
            batches = _batches(settings, count, people, number * count)
            for name in sorted(routers, reverse=number % 2 == 0):
                clock = _Clock()
                await _round(settings, routers[name], batches, clock)
                runs[name].append(1e6 * sum(clock.spent.values()) / count)
            print_progress(
                f"round {number} of {rounds}: " + ", ".join(f"{name} {run[-1]:.2f} us" for name, run in runs.items())
            )
        for tables in stores.values():
            for store in tables.values():
                store.close()
    memory, disk = runs["memory"][1:], runs["disk"][1:]
    goal = Goal("at most", 1.1, of_ratio=True)
    name = f"CPU a trigger, tables on disk, {people:,} people"
    line = beside(name, disk, "us", goal, "tables in memory", memory)
    return report([line], packages=("lmdb", "msgspec"), rounds={"memory": memory, "disk": disk})


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


class _NoDeltas:
    async def read(self, user_ids: Sequence[str]) -> list[bytes | None]:
        return [None] * len(user_ids)


def _recipients(settings: Settings) -> RecipientLookup:
    stores = open_tables(settings, lambda topic: in_memory)
    for number, (topic, key, value, _) in enumerate(user_uploads(bench_users(), _REGION)):
        user_id = key or ""
        stores[topic].load(bucket_of(user_id, settings.partitions), [Row(number, user_id.encode(), value)], number + 1)
    return RecipientLookup(_locate(settings, stores[USER_LOCATIONS]), stores[CONTACT_ROWS], _NoChoices())


def _lookup(settings: Settings, stores: Mapping[str, Store]) -> RecipientLookup:
    """As a router has it, but for Redis, which has no newer choices."""
    unused: Any = None
    deltas: Any = _NoDeltas()
    bound = staleness_bound_of(settings.preferences)
    check = DecisionCheck(deltas, unused, bound, stores[PREFERENCE_ROWS].get_many)
    return RecipientLookup(_locate(settings, stores[USER_LOCATIONS]), stores[CONTACT_ROWS], check)


def _locate(settings: Settings, store: Store) -> Callable[[int, Sequence[bytes]], list[Location | None]]:
    rows = LocationCodec(settings.regions, settings.partitions)
    return lambda bucket, keys: [None if row is None else rows.unpack(row) for row in store.get_many(bucket, keys)]


def _load(settings: Settings, stores: Mapping[str, Store], people: int) -> None:
    """Write the rows of `people` into the stores."""
    for first in range(0, people, _LOADED):
        records: dict[tuple[str, int], list[Row]] = defaultdict(list)
        for number in range(first, min(first + _LOADED, people)):
            user_id = bench_user(number, people)
            bucket = bucket_of(user_id, settings.partitions)
            for topic, value in zip(TOPICS, values_of(number, user_id, _REGION), strict=True):
                records[topic, bucket].append(Row(number, user_id.encode(), value))
        for (topic, bucket), rows in records.items():
            stores[topic].load(bucket, rows, first + _LOADED)


def _batches(settings: Settings, count: int, people: int = USERS, first: int = 0) -> list[RecordBatch]:
    """The triggers as aiokafka parses a fetched batch."""
    builders: dict[int, Any] = {}
    for _, key, value, _ in triggers(count, f"{first:02x}", people, first):
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
