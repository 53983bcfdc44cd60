"""Both stores behave the same; the one on disk also keeps rows and positions over a restart."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from notify_streams.transport.tables.disk_store import DiskStore
from notify_streams.transport.tables.memory_store import MemoryStore
from notify_streams.transport.tables.store import Store
from tests.unit.transport.transport_builders import ARecord

Open = Callable[..., Store]


@pytest.fixture(params=["memory", "disk"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    opened: list[Store] = []

    def open_(**options: Any) -> Store:
        store = MemoryStore(**options) if request.param == "memory" else DiskStore(tmp_path / "db", **options)
        opened.append(store)
        return store

    yield open_
    for store in opened:
        store.close()


def rows(**values: bytes | None) -> list[ARecord]:
    return [ARecord(offset, key.encode(), value) for offset, (key, value) in enumerate(values.items())]


def test_the_last_record_of_a_key_wins_and_a_tombstone_deletes(open_store: Open) -> None:
    store = open_store()
    store.load(0, [ARecord(0, b"a", b"1"), ARecord(1, b"a", b"2"), ARecord(2, b"b", b"1"), ARecord(3, b"b", None)], 4)
    assert store.get_many(0, [b"a", b"b", b"c"]) == [b"2", None, None]
    assert store.position(0) == 4


def test_partitions_do_not_see_each_other(open_store: Open) -> None:
    store = open_store()
    store.load(0, rows(a=b"0"), 1)
    store.load(1, rows(a=b"1"), 1)
    assert store.partitions() == {0, 1}
    store.drop(0)
    assert store.position(0) is None
    assert store.get_many(0, [b"a"]) == [None] == store.get_many(9, [b"a"])
    assert store.get(1, b"a") == b"1"
    assert store.partitions() == {1}


def test_decode_makes_rows_and_leaves_some_out(open_store: Open) -> None:
    def decode(key: bytes, value: bytes | None, partition: int) -> tuple[bytes, bytes | None] | None:
        return None if key == b"x" else (key, value and value.upper())

    store = open_store(decode=decode)
    store.load(0, rows(a=b"us", x=b"no"), 2)
    assert store.get_many(0, [b"a", b"x"]) == [b"US", None]


def test_decode_reads_what_the_records_before_have_changed(open_store: Open) -> None:
    """Or an older record would win over a newer one of the same batch."""

    def newest(key: bytes, value: bytes | None, partition: int) -> tuple[bytes, bytes | None] | None:
        return None if value is not None and (store.get(partition, key) or b"") > value else (key, value)

    store = open_store(decode=newest)
    store.load(0, [ARecord(0, b"a", b"2"), ARecord(1, b"b", b"5"), ARecord(2, b"a", b"1"), ARecord(3, b"b", None)], 4)
    store.load(0, [ARecord(4, b"b", b"3")], 5)
    assert store.get_many(0, [b"a", b"b"]) == [b"2", b"3"]


@pytest.mark.parametrize("size", [0, 1, 511, 512, 5_000])
def test_a_key_of_any_size_is_found(open_store: Open, size: int) -> None:
    store, key = open_store(), b"k" * size
    store.load(0, [ARecord(0, key, b"1"), ARecord(1, b"other", b"2")], 2)
    assert store.get_many(0, [b"other", key, key + b"x"]) == [b"2", b"1", None]
    store.load(0, [ARecord(2, key, None)], 3)
    assert store.get(0, key) is None


def test_memory_frees_a_released_partition() -> None:
    store = MemoryStore()
    store.load(5, rows(a=b"1"), 9)
    store.release(5)
    assert len(store) == 0
