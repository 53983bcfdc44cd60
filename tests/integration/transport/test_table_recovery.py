"""A partitioned table has the rows of its partitions before its sources start, and follows every change."""

from pathlib import Path
from typing import Any

import faust
import pytest

from notify_streams.transport import PartitionedTable, batched_topic, in_memory, on_disk, ready, recovery
from notify_streams.transport.tables.store import StoreFactory
from tests.integration.transport.conftest import NewApp, Running
from tests.integration.transport.kafka_topics import a_topic, delete_records, delete_topic, fill, until


@pytest.fixture(params=["memory", "disk"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> StoreFactory:
    """Opens the same store at each call, as a restarted worker does."""
    return in_memory if request.param == "memory" else on_disk(tmp_path / "table")


async def a_rows_topic(bootstrap: str, policy: str = "compact") -> str:
    return await a_topic(bootstrap, 2, **{"cleanup.policy": policy})


def declare(
    new_app: NewApp, source: str, rows: str, store: StoreFactory
) -> tuple[faust.App, PartitionedTable, list[tuple[int, Any]]]:
    """An app with a table; and what the table had for `k0` at each batch, by partition."""
    app = new_app()
    table = PartitionedTable(app, rows, store=store)
    seen: list[tuple[int, Any]] = []

    @app.agent(batched_topic(app, source))
    async def look(stream: Any) -> None:
        async for event in stream.noack().events():
            seen.append((event.value.partition, table.get(event.value.partition, b"k0")))
            event.ack()

    return app, table, seen


async def test_rows_and_deletions_are_read_before_the_source_starts(
    kafka_bootstrap: str, new_app: NewApp, running: Running, store: StoreFactory
) -> None:
    source, rows = await a_topic(kafka_bootstrap, 2), await a_rows_topic(kafka_bootstrap)
    for partition in (0, 1):
        await fill(kafka_bootstrap, source, partition, [b"x"])
        for key in (b"k0", b"k1", b"k2"):
            await fill(kafka_bootstrap, rows, partition, [b"old", b"new %d" % partition], key=key)
    await fill(kafka_bootstrap, rows, 0, [None], key=b"k2")
    app, table, seen = declare(new_app, source, rows, store)
    async with running(app):
        await until(lambda: len(seen) >= 2)
        assert set(seen) == {(0, b"new 0"), (1, b"new 1")}
        assert table.get_many(0, [b"k1", b"k2", b"missing"]) == [b"new 0", None, None]
        assert ready(app)
        assert [progress.table for progress in recovery(app)] == [rows]


async def test_a_warm_restart_reads_only_what_is_new(
    kafka_bootstrap: str, new_app: NewApp, running: Running, tmp_path: Path
) -> None:
    source, rows = await a_topic(kafka_bootstrap, 2), await a_rows_topic(kafka_bootstrap)
    store = on_disk(tmp_path / "table")
    await fill(kafka_bootstrap, rows, 0, [b"%d" % n for n in range(5000)], key=b"k0")
    app, table, _ = declare(new_app, source, rows, store)
    async with running(app):
        await until(lambda: table.partitions == {0, 1})
    await fill(kafka_bootstrap, rows, 0, [b"new"], key=b"k0")
    again, table, _ = declare(new_app, source, rows, store)
    async with running(again):
        await until(lambda: table.partitions == {0, 1})
        assert table.progress().rows == 1
        assert table.get(0, b"k0") == b"new"


async def test_every_change_is_followed_and_the_lag_is_bounded(
    kafka_bootstrap: str, new_app: NewApp, running: Running
) -> None:
    source, rows = await a_topic(kafka_bootstrap, 2), await a_rows_topic(kafka_bootstrap)
    app, table, _ = declare(new_app, source, rows, in_memory)
    async with running(app):
        await until(lambda: table.partitions == {0, 1})
        for value in (b"1", b"2", None, b"3"):
            await fill(kafka_bootstrap, rows, 1, [value], key=b"a")
            await until(lambda value=value: table.get(1, b"a") == value)  # type: ignore[misc]
        # Ends are read every 2 s, and a fetch of an idle topic waits up to 2 s more.
        await until(lambda: 2 < table.lag_s() < 7, "the lag grows until the ends are read again")
        await until(lambda: table.lag_s() < 2, "the ends were read again")


async def test_an_emptied_and_a_recreated_topic_do_not_hang_recovery(
    kafka_bootstrap: str, new_app: NewApp, running: Running, tmp_path: Path
) -> None:
    source, rows = await a_topic(kafka_bootstrap, 2), await a_rows_topic(kafka_bootstrap, "compact,delete")
    await fill(kafka_bootstrap, rows, 0, [b"1", b"2"], key=b"a")
    store = on_disk(tmp_path / "table")
    for change in (None, "emptied", "recreated"):
        if change == "emptied":
            await delete_records(kafka_bootstrap, rows, 0, 2)
        elif change == "recreated":
            await delete_topic(kafka_bootstrap, rows)
            await a_topic(kafka_bootstrap, 2, name=rows)
        app, table, _ = declare(new_app, source, rows, store)
        async with running(app):
            await until(lambda table=table: table.partitions == {0, 1})  # type: ignore[misc]
    app, table, _ = declare(new_app, source, rows, store)
    async with running(app):
        await until(lambda: table.partitions == {0, 1})
        assert table.get(0, b"a") is None
        await fill(kafka_bootstrap, rows, 0, [b"3"], key=b"a")
        await until(lambda: table.get(0, b"a") == b"3")
