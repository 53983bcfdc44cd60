"""`notify-streams bench tables`: in memory, on disk, and for 100M people."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from devtools import subprocesses
from devtools.benchmarks.results import Goal, figure, report
from devtools.benchmarks.tables.people import TOPICS, user_id_of, values_of
from devtools.benchmarks.tables.worker import Found, Task
from devtools.benchmarks.transport.topics import PARTITIONS_VARIABLE, create
from devtools.stack.kafka import private_broker
from devtools.subprocesses import python_module
from notify_streams.cli.output import print_progress
from notify_streams.kafka import KafkaConnection
from notify_streams.records.partitioner import bucket_of
from notify_streams.topics import CONTACT_ROWS, USER_LOCATIONS
from notify_streams.transport import BatchProducer

if TYPE_CHECKING:
    from notify_streams.records.batch import KeyedRecord

_REGION: Final = "us"
_CHUNK: Final = 100_000
_TIMEOUT_S: Final = 3_600.0
#: What the largest installation has.
PEOPLE: Final = 100_000_000
WORKERS: Final = 16
_LIMIT_BYTES: Final = 4 * 1024**3


async def measure(
    folder: Path, people: int, memory_people: int, partitions: int, lookups: int, write: Path | None
) -> dict[str, Any]:
    os.environ[PARTITIONS_VARIABLE] = str(partitions)
    shutil.rmtree(folder, ignore_errors=True)
    try:
        with private_broker(folder / "kafka") as broker:
            for topic in TOPICS:
                await create(broker.address, topic, compacted=True)
            await _publish(broker.address, people, partitions)
            owned = max(1, round(partitions * memory_people / people))
            print_progress(f"tables in memory: {owned} of {partitions} partitions")
            memory = await _run(Task(broker.address, people, partitions, owned, None, lookups))
            on_disk = Task(broker.address, people, partitions, partitions, str(folder / "tables"), lookups)
            print_progress("tables on disk, empty at first")
            cold = await _run(on_disk)
            await _publish(broker.address, people // 1_000, partitions)
            print_progress("tables on disk, after a restart")
            warm = await _run(on_disk)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    figures = figures_of(people, memory, cold, warm)
    if write is not None:
        _write(write, figures)
    return _report(figures)


async def _run(task: Task) -> Found:
    arguments = msgspec.json.encode(task).decode()
    out = await subprocesses.run(python_module("devtools.benchmarks.tables.worker", arguments), timeout_s=_TIMEOUT_S)
    return msgspec.json.decode(out, type=Found)


async def _publish(bootstrap: str, people: int, partitions: int) -> None:
    """The records of people 0 to `people` - 1 on each topic."""
    producer = BatchProducer(KafkaConnection(bootstrap))
    await producer.start()
    try:
        for first in range(0, people, _CHUNK):
            batches: dict[tuple[str, int], list[KeyedRecord]] = {}
            for number in range(first, min(first + _CHUNK, people)):
                user_id = user_id_of(number)
                bucket, key = bucket_of(user_id, partitions), user_id.encode()
                for topic, value in zip(TOPICS, values_of(number, user_id, _REGION), strict=True):
                    batches.setdefault((topic, bucket), []).append((key, value, ()))
            for (topic, bucket), records in batches.items():
                await producer.send_batch(topic, bucket, records)
            print_progress(f"{min(first + _CHUNK, people):,} of {people:,} people published")
    finally:
        await producer.stop()


def figures_of(people: int, memory: Found, cold: Found, warm: Found) -> dict[str, float]:
    """Figures with their unit in the name, as `docs/measurements/README.md` explains them."""
    in_memory = memory.rows[CONTACT_ROWS]
    memory_each = (memory.memory_bytes - memory.memory_before_bytes) / in_memory
    disk_each = sum(cold.disk_bytes.values()) / people
    own = PEOPLE / WORKERS
    # The whole file may be in memory. A worker's other memory does not grow with people.
    disk_worker = max(cold.memory_bytes, warm.memory_bytes) + own * disk_each
    cold_rate = sum(cold.rows.values()) / cold.seconds
    return {
        "people": people,
        "people_of_memory_tables": in_memory,
        "memory_tables_bytes_per_person": round(memory_each, 1),
        **{
            f"memory_table_{topic}_bytes_per_person": round(size / in_memory, 1)
            for topic, size in memory.added_bytes.items()
        },
        "disk_tables_bytes_per_person": round(disk_each, 1),
        **{f"disk_table_{topic}_bytes_per_person": round(size / people, 1) for topic, size in cold.disk_bytes.items()},
        "memory_tables_worker_memory_bytes": memory.memory_bytes,
        "disk_tables_worker_memory_bytes": max(cold.memory_bytes, warm.memory_bytes),
        "disk_tables_worker_mapped_bytes": cold.mapped_bytes,
        "disk_tables_worker_disk_bytes": sum(cold.disk_bytes.values()),
        "memory_tables_recovery_keys_per_s": round(sum(memory.rows.values()) / memory.seconds),
        "disk_tables_recovery_keys_per_s": round(cold_rate),
        "disk_tables_recovery_s": round(cold.seconds, 1),
        "disk_tables_warm_restart_s": round(warm.seconds, 2),
        "disk_tables_warm_restart_keys": sum(warm.rows.values()),
        "memory_tables_hits_per_s": round(memory.hits_per_s),
        "memory_tables_misses_per_s": round(memory.misses_per_s),
        "disk_tables_cold_hits_per_s": round(warm.first_hits_per_s),
        "disk_tables_hits_per_s": round(max(cold.hits_per_s, warm.hits_per_s)),
        "disk_tables_misses_per_s": round(max(cold.misses_per_s, warm.misses_per_s)),
        "people_calculated": PEOPLE,
        "workers_calculated": WORKERS,
        "memory_tables_worker_memory_bytes_calculated": round(memory.memory_before_bytes + own * memory_each),
        "disk_tables_worker_memory_bytes_calculated": round(disk_worker),
        "disk_tables_worker_disk_bytes_calculated": round(own * disk_each),
        "disk_tables_worker_recovery_s_calculated": round(own * len(TOPICS) / cold_rate),
        # Of a worker that has the locations of all.
        "disk_tables_all_locations_disk_bytes_calculated": round(PEOPLE * cold.disk_bytes[USER_LOCATIONS] / people),
        "disk_tables_all_locations_recovery_s_calculated": round(PEOPLE / cold_rate),
    }


def _write(file: Path, figures: dict[str, float]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(msgspec.json.format(msgspec.json.encode(figures), indent=2) + b"\n")


def _report(figures: dict[str, float]) -> dict[str, Any]:
    goals = {
        "disk_tables_worker_memory_bytes_calculated": Goal("at most", _LIMIT_BYTES),
        # A restart reads what is new, and no more.
        "disk_tables_warm_restart_keys": Goal("at most", len(TOPICS) * (figures["people"] // 1_000)),
    }
    lines = [figure(name, value, _unit_of(name), goals.get(name)) for name, value in figures.items()]
    return report(lines, packages=("aiokafka", "lmdb"), figures_by_name=figures)


def _unit_of(name: str) -> str:
    if "_per_s" in name:
        return "/s"
    if "_bytes" in name:
        return "bytes"
    return "s" if name.removesuffix("_calculated").endswith("_s") else ""
