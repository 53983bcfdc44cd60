"""A worker says when it is ready, when it is stuck, and refuses to start without its topics."""

import asyncio

from notify_streams.transport import Watchdog, batched_consumer, batched_topic, on_assigned, ready, stuck
from notify_streams.transport.app_state import app_state
from notify_streams.transport.health_monitor import observe
from notify_streams.transport.watchdog import Reason
from tests.integration.transport.kafka_topics import a_topic, fill, unique, until


async def test_an_agent_that_hangs_is_named_and_one_that_works_is_not(kafka_bootstrap, new_app, running) -> None:
    hung, busy = await a_topic(kafka_bootstrap, 1), await a_topic(kafka_bootstrap, 1)
    app, worked = new_app(), []
    app_state(app).watchdog = Watchdog(after_s=0.3)

    @app.agent(batched_topic(app, hung))
    async def hang(stream):
        async for event in stream.noack().events():
            assert event.value
            await asyncio.Event().wait()

    @app.agent(batched_topic(app, busy))
    async def work(stream):
        async for event in stream.noack().events():
            worked.append(event.value)
            event.ack()

    async with running(app):
        for topic in (hung, busy):
            await fill(kafka_bootstrap, topic, 0, [b"x"])
        await until(lambda: worked)
        assert stuck(app) == ()
        for _ in range(6):
            await observe(batched_consumer(app))
            await asyncio.sleep(0.1)
        assert [(found.what, found.reason) for found in stuck(app)] == [(f"{hung}-0", Reason.NOT_PROCESSED)]


async def test_a_worker_is_ready_once_its_partitions_flow(kafka_bootstrap, new_app, running) -> None:
    topic = await a_topic(kafka_bootstrap, 1)
    app, asked, answer = new_app(), [], asyncio.Event()

    @app.agent(batched_topic(app, topic))
    async def work(stream):
        async for event in stream.noack().events():
            event.ack()

    async def hook(tps):
        asked.append(tps)
        await answer.wait()

    on_assigned(app, hook)
    async with running(app):
        await until(lambda: asked)
        assert not ready(app)
        answer.set()
        await until(lambda: ready(app))


async def test_without_its_source_topic_an_app_does_not_start(new_app) -> None:
    app = new_app()

    @app.agent(batched_topic(app, unique("missing")))
    async def work(stream):
        async for event in stream.noack().events():
            event.ack()

    app.finalize()
    await app.start()
    await until(lambda: app.crashed)
    assert "create them before the app starts" in str(app._crash_reason)
    await app.stop()


async def test_an_app_that_reads_nothing_starts_and_is_ready(new_app, running) -> None:
    app = new_app()
    async with asyncio.timeout(20), running(app):
        await until(lambda: ready(app))
