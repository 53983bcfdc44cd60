"""Process of a case of `bench tables`: recovers tables, looks people up.

``python -m devtools.benchmarks.tables.worker TASK``: a `Task` as JSON; prints a `Found` as JSON.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from devtools.benchmarks.tables.people import TOPICS, open_tables, user_id_of
from notify_streams.gc_tuning import tune_gc
from notify_streams.kafka import KafkaConnection
from notify_streams.records.partitioner import bucket_of
from notify_streams.settings import load_settings
from notify_streams.transport import TransportSettings, in_memory, on_disk
from notify_streams.transport.tables.changelog_reader import ChangelogReader
from notify_streams.transport.tables.disk_store import DiskStore
from notify_streams.transport.tables.follower import Follower

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from notify_streams.transport.tables.store import Store

BATCH: Final = 1_000
_MAX_NUMBER: Final = 10**12


class Task(msgspec.Struct, frozen=True):
    """`owned`: partitions 0 to `owned` - 1 of `partitions` are this worker's."""

    bootstrap: str
    people: int
    partitions: int
    owned: int
    #: Of the files; None: tables in memory.
    folder: str | None
    batches: int


class Found(msgspec.Struct, frozen=True):
    """What one process measured."""

    #: By topic; of the recovery.
    rows: dict[str, int]
    #: From the opening of the tables until they have caught up.
    seconds: float
    #: Memory of the process that is not a file's; what it had before the tables were opened, and what each table has added.
    memory_bytes: int
    memory_before_bytes: int
    added_bytes: dict[str, int]
    #: Pages of the tables' files in memory; the system takes them back when it needs them.
    mapped_bytes: int
    disk_bytes: dict[str, int]
    #: Look-ups a second: people who are there, at the first time and again, and people who are not.
    first_hits_per_s: float
    hits_per_s: float
    misses_per_s: float


async def measure(task: Task) -> Found:
    """Recover, look up, close."""
    settings = msgspec.structs.replace(load_settings("us", environ={}), partitions=task.partitions)
    if task.folder is not None:
        _forget_pages(Path(task.folder))
    hits, misses = _batches(task, 0), _batches(task, _MAX_NUMBER)
    before = _memory("RssAnon")
    began = time.perf_counter()
    stores = open_tables(
        settings, lambda topic: in_memory if task.folder is None else on_disk(Path(task.folder) / topic)
    )
    connection = KafkaConnection(task.bootstrap)
    followers = {
        topic: Follower(topic, store, partial(ChangelogReader, connection, topic, TransportSettings()), _crash)
        for topic, store in stores.items()
    }
    added: dict[str, int] = {}
    for topic, follower in followers.items():
        had = _memory("RssAnon")
        follower.start()
        await follower.catch_up(frozenset(range(task.owned)))
        added[topic] = _memory("RssAnon") - had
    seconds = time.perf_counter() - began
    tune_gc()
    first, again, missed = (_rate(stores, batches) for batches in (hits, hits, misses))
    found = Found(
        {topic: follower.progress().rows for topic, follower in followers.items()},
        seconds,
        _memory("RssAnon"),
        before,
        added,
        _memory("RssFile"),
        {topic: store.size_bytes() for topic, store in stores.items() if isinstance(store, DiskStore)},
        first,
        again,
        missed,
    )
    for topic, follower in followers.items():
        await follower.stop()
        stores[topic].close()
    return found


async def _crash(reason: BaseException) -> None:
    raise SystemExit(1) from reason


def _batches(task: Task, first: int) -> list[tuple[int, list[bytes]]]:
    """Bucket, user ids of `BATCH` people, drawn at random from those of this worker."""
    rng = random.Random(1)
    batches: list[tuple[int, list[bytes]]] = []
    waiting: dict[int, list[bytes]] = {bucket: [] for bucket in range(task.owned)}
    while len(batches) < task.batches:
        user_id = user_id_of(first + rng.randrange(task.people))
        keys = waiting.get(bucket_of(user_id, task.partitions))
        if keys is not None:
            keys.append(user_id.encode())
            if len(keys) == BATCH:
                batches.append((bucket_of(user_id, task.partitions), keys[:]))
                keys.clear()
    return batches


def _rate(stores: Mapping[str, Store], batches: Sequence[tuple[int, list[bytes]]]) -> float:
    """Look-ups a second: each person in each table."""
    began = time.perf_counter()
    for bucket, keys in batches:
        for store in stores.values():
            store.get_many(bucket, keys)
    return len(batches) * BATCH * len(stores) / (time.perf_counter() - began)


def _memory(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {field}: memory cannot be measured here")


def _forget_pages(folder: Path) -> None:
    """Let the system drop what it keeps of the files, so that the first reads are from the disk."""
    for topic in TOPICS:
        if (data := folder / topic / "data.mdb").exists():
            file = os.open(data, os.O_RDONLY)
            os.fsync(file)
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(file)


if __name__ == "__main__":
    print(msgspec.json.encode(asyncio.run(measure(msgspec.json.decode(sys.argv[1], type=Task)))).decode())
