"""Every worker has all rows of a compacted topic before its sources start, and follows every change."""

import asyncio
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import faust
import pytest

from notify_streams.transport import ReplicatedTable, batched_topic, in_memory, on_disk, ready
from notify_streams.transport.tables.store import StoreFactory
from tests.integration.transport.conftest import NewApp, Running
from tests.integration.transport.kafka_topics import a_topic, fill, unique, until


@pytest.fixture(params=["memory", "disk"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> StoreFactory:
    """A new store at each call."""
    return lambda decode: (in_memory if request.param == "memory" else on_disk(tmp_path / unique("table")))(decode)


def in_upper_case(key: bytes, value: bytes | None, partition: int) -> tuple[Any, Any]:
    return key, value and value.upper()


def rows_of(table: ReplicatedTable) -> list[Any]:
    return [table.get(partition, b"u%d" % partition) for partition in range(4)]


async def test_three_workers_have_all_rows_and_follow_changes(
    kafka_bootstrap: str, new_app: NewApp, running: Running, store: StoreFactory
) -> None:
    locations = await a_topic(kafka_bootstrap, 4, **{"cleanup.policy": "compact"})
    source = await a_topic(kafka_bootstrap, 4)
    for partition in range(4):
        await fill(kafka_bootstrap, locations, partition, [b"us"] * 10, key=b"u%d" % partition)
    workers: list[tuple[faust.App, ReplicatedTable]] = []
    found: list[list[Any]] = []
    group = unique("app")
    async with AsyncExitStack() as stack:
        for _ in range(3):
            app = new_app(id=group)
            table = ReplicatedTable(app, locations, store=store, decode=in_upper_case)

            @app.agent(batched_topic(app, source))
            async def look(stream: Any, table: ReplicatedTable = table) -> None:
                async for event in stream.noack().events():
                    found.append(rows_of(table))
                    event.ack()

            workers.append((app, table))
            await stack.enter_async_context(running(app))
        for app, table in workers:
            await asyncio.wait_for(table.wait_until_caught_up(), 15)
            await until(partial(ready, app))
        await fill(kafka_bootstrap, source, 0, [b"x"])
        await until(lambda: found)
        assert found[0] == [b"US"] * 4
        await fill(kafka_bootstrap, locations, 2, [b"eu"], key=b"u2")
        await fill(kafka_bootstrap, locations, 3, [None], key=b"u3")
        for _, table in workers:
            await until(lambda: rows_of(table)[2:] == [b"EU", None])  # noqa: B023 - awaited in the same iteration


async def test_a_topic_that_does_not_exist_stops_the_start(
    kafka_bootstrap: str, new_app: NewApp, running: Running
) -> None:
    app = new_app()
    ReplicatedTable(app, unique("missing"))
    app.finalize()
    with pytest.raises(Exception, match="create them before the app starts"):
        await app.start()
    await app.stop()
