"""Tables are recovered from their changelogs before their sources start."""

from pathlib import Path
from typing import Any

import faust
import pytest

from notify_streams.transport import (
    BatchedTable,
    PartitionNotOwned,
    batched_topic,
    in_memory,
    on_disk,
    ready,
    recovery,
)
from notify_streams.transport.tables.store import StoreFactory
from tests.integration.transport.conftest import NewApp, Running
from tests.integration.transport.kafka_topics import a_topic, delete_records, delete_topic, fill, unique, until


@pytest.fixture(params=["memory", "disk"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> StoreFactory:
    """Opens the same store at each call, as a restarted worker does."""
    return in_memory if request.param == "memory" else on_disk(tmp_path / "rocks")


def declare(
    new_app: NewApp, source: str, changelog: str, store: StoreFactory, **options: Any
) -> tuple[faust.App, BatchedTable, list[tuple[int, Any]]]:
    """An app that writes each value it reads into its table; and what the table had for `k0` at each batch, by partition."""
    app = new_app()
    table = BatchedTable(app, "rows", partitions=2, store=store, changelog=changelog, **options)
    seen: list[tuple[int, Any]] = []

    @app.agent(batched_topic(app, source))
    async def write(stream: Any) -> None:
        async for event in stream.noack().events():
            batch = event.value
            seen.append((batch.partition, table.get(batch.partition, b"k0")))
            await table.apply(
                batch.partition, {r.value: (r.value if r.key != b"delete" else None) for r in batch.records}
            )
            event.ack()

    return app, table, seen


async def test_rows_and_deletions_are_recovered_before_the_source_starts(
    kafka_bootstrap: str, new_app: NewApp, running: Running, store: StoreFactory
) -> None:
    source, changelog = await a_topic(kafka_bootstrap, 2), unique("changelog")
    app, table, _ = declare(new_app, source, changelog, store)
    async with running(app):
        for partition in (0, 1):
            await fill(kafka_bootstrap, source, partition, [b"k%d" % n for n in range(1000)])
        await until(lambda: all(table.get(p, b"k999") for p in (0, 1)))
        await fill(kafka_bootstrap, source, 0, [b"k1", b"k2"], key=b"delete")
        await until(lambda: table.get(0, b"k2") is None)
    again, table, seen = declare(new_app, source, changelog, store)
    async with running(again):
        await until(lambda: len(seen) >= 2)
        assert set(seen) == {(0, b"k0"), (1, b"k0")}
        assert table.get_many(1, [b"k1", b"k2", b"k3", b"missing"]) == [b"k1", b"k2", b"k3", None]
        assert ready(again)
        assert [progress.table for progress in recovery(again)] == ["rows"]


async def test_a_warm_restart_reads_only_what_is_new(
    kafka_bootstrap: str, new_app: NewApp, running: Running, tmp_path: Path
) -> None:
    source, changelog = await a_topic(kafka_bootstrap, 2), unique("changelog")
    store = on_disk(tmp_path / "rocks")
    app, table, _ = declare(new_app, source, changelog, store)
    async with running(app):
        await until(lambda: table.owned == {0, 1})
        await table.apply(0, {b"k%d" % n: b"v" for n in range(5000)})
    await fill(kafka_bootstrap, changelog, 0, [b"from another worker"], key=b"k0")
    again, table, _ = declare(new_app, source, changelog, store)
    async with running(again):
        await until(lambda: table.owned == {0, 1})
        assert table.progress().rows == 1
        assert table.get_many(0, [b"k0", b"k4999"]) == [b"from another worker", b"v"]


async def test_a_standby_follows_every_write_of_the_owner(
    kafka_bootstrap: str, new_app: NewApp, running: Running
) -> None:
    source, changelog = await a_topic(kafka_bootstrap, 2), unique("changelog")
    owner, owned, _ = declare(new_app, source, changelog, in_memory)
    # A group of its own and no source: it follows everything and owns nothing.
    other = await a_topic(kafka_bootstrap, 2)
    standby, warm, _ = declare(new_app, other, changelog, in_memory, standby=range(2), sources=())
    async with running(owner), running(standby):
        await until(lambda: owned.owned == {0, 1})
        await owned.apply(1, {b"a": b"1", b"b": b"2"})
        await until(lambda: warm.get_many(1, [b"a", b"b"]) == [b"1", b"2"])
        await owned.apply(1, {b"a": None})
        await until(lambda: warm.get(1, b"a") is None)


async def test_only_the_owner_of_a_partition_may_write_it(
    kafka_bootstrap: str, new_app: NewApp, running: Running
) -> None:
    source = await a_topic(kafka_bootstrap, 2)
    app, table, _ = declare(new_app, source, unique("changelog"), in_memory, sources=())
    async with running(app):
        with pytest.raises(PartitionNotOwned):
            await table.apply(0, {b"a": b"1"})


async def test_rows_of_a_worker_that_lost_its_partition_unnoticed_are_merged_in_order(
    kafka_bootstrap: str, new_app: NewApp, running: Running
) -> None:
    source, changelog = await a_topic(kafka_bootstrap, 2), unique("changelog")
    app, table, _ = declare(new_app, source, changelog, in_memory)
    async with running(app):
        await until(lambda: table.owned == {0, 1})
        await table.apply(0, {b"a": b"1"})
        await fill(kafka_bootstrap, changelog, 0, [b"zombie"], key=b"a")
        await fill(kafka_bootstrap, changelog, 0, [b"zombie"], key=b"z")
        await table.apply(0, {b"a": b"2"})
        assert table.get_many(0, [b"a", b"z"]) == [b"2", b"zombie"]


async def test_an_emptied_and_a_recreated_changelog_do_not_hang_recovery(
    kafka_bootstrap: str, new_app: NewApp, running: Running, tmp_path: Path
) -> None:
    source, changelog = await a_topic(kafka_bootstrap, 2), unique("changelog")
    await a_topic(kafka_bootstrap, 2, name=changelog, **{"cleanup.policy": "compact,delete"})
    store = on_disk(tmp_path / "rocks")
    app, table, _ = declare(new_app, source, changelog, store)
    async with running(app):
        await until(lambda: table.owned == {0, 1})
        await table.apply(0, {b"a": b"1", b"b": b"2"})
    await delete_records(kafka_bootstrap, changelog, 0, 2)
    emptied, table, _ = declare(new_app, source, changelog, store)
    async with running(emptied):
        await until(lambda: table.owned == {0, 1})
    await delete_topic(kafka_bootstrap, changelog)
    recreated, table, _ = declare(new_app, source, changelog, store)
    async with running(recreated):
        await until(lambda: table.owned == {0, 1})
        assert table.get(0, b"a") is None
        await table.apply(0, {b"a": b"3"})
        assert table.get(0, b"a") == b"3"
