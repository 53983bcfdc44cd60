"""Every worker holds all rows of a compacted topic, from before its sources flow, and hears of every change."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from notify_streams.transport import ReplicatedTable, batched_topic, in_memory, on_disk, ready
from tests.integration.transport.kafka_topics import a_topic, fill, unique, until


@pytest.fixture(params=["memory", "disk"])
def store(request: pytest.FixtureRequest, tmp_path: Path):
    return lambda *args: (in_memory if request.param == "memory" else on_disk(tmp_path / unique("rocks")))(*args)


def intern_regions(key: bytes, value: bytes | None, partition: int):
    return key, {b"us": "us", b"eu": "eu"}.get(value or b"", value)


async def test_three_workers_hold_everything_and_hear_of_changes(kafka_bootstrap, new_app, running, store) -> None:
    locations = await a_topic(kafka_bootstrap, 4, **{"cleanup.policy": "compact"})
    source = await a_topic(kafka_bootstrap, 4)
    for partition in range(4):
        await fill(kafka_bootstrap, locations, partition, [b"us"] * 10, key=b"u%d" % partition)
    workers, group, first_look = [], unique("app"), []
    async with AsyncExitStack() as stack:
        for _ in range(3):
            app = new_app(id=group)
            table = ReplicatedTable(app, locations, store=store, decode=intern_regions)

            @app.agent(batched_topic(app, source))
            async def look(stream, table=table):
                async for event in stream.noack().events():
                    first_look.append(table.get_many([b"u0", b"u1", b"u2", b"u3", b"nobody"]))
                    event.ack()

            workers.append((app, table))
            await stack.enter_async_context(running(app))
        for app, table in workers:
            await asyncio.wait_for(table.wait_until_caught_up(), 15)
            await until(lambda app=app: ready(app))
        await fill(kafka_bootstrap, source, 0, [b"x"])
        await until(lambda: first_look)
        assert first_look[0] == ["us"] * 4 + [None]
        await fill(kafka_bootstrap, locations, 2, [b"eu"], key=b"u2")
        await fill(kafka_bootstrap, locations, 3, [None], key=b"u3")
        for _, table in workers:
            await until(lambda table=table: table.get_many([b"u2", b"u3"]) == ["eu", None])


async def test_a_topic_that_does_not_exist_stops_the_start(kafka_bootstrap, new_app, running) -> None:
    app = new_app()
    ReplicatedTable(app, unique("missing"))
    app.finalize()
    with pytest.raises(Exception, match="create them before the app starts"):
        await app.start()
    await app.stop()
