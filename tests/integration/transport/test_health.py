"""Readiness and the watchdog of a running worker; it does not start without its topics."""

import asyncio
from itertools import count
from typing import Any

import pytest
from faust import App
from faust.types import TP

from notify_streams.transport import (
    Watchdog,
    batched_consumer,
    batched_topic,
    count_progress_by,
    on_assigned,
    ready,
    start_at,
    stuck,
)
from notify_streams.transport.app_state import app_state
from notify_streams.transport.health_monitor import observe
from notify_streams.transport.watchdog import Reason
from tests.integration.transport.batch_collector import BatchCollector
from tests.integration.transport.conftest import NewApp, Running
from tests.integration.transport.kafka_topics import a_topic, fill, unique, until


async def something_is_stuck(app: App) -> bool:
    """After one more observation."""
    await observe(batched_consumer(app))
    return bool(stuck(app))


async def test_a_blocked_agent_is_stuck_and_one_that_works_is_not(
    kafka_bootstrap: str, new_app: NewApp, running: Running
) -> None:
    blocked, busy = await a_topic(kafka_bootstrap, 1), await a_topic(kafka_bootstrap, 1)
    app = new_app()
    app_state(app).watchdog = Watchdog(after_s=0.3)
    unacknowledged, acknowledged = BatchCollector(app, blocked, ack=False), BatchCollector(app, busy)

    async with running(app):
        for topic in (blocked, busy):
            await fill(kafka_bootstrap, topic, 0, [b"x"])
        await until(lambda: unacknowledged.count == acknowledged.count == 1)
        assert stuck(app) == ()
        await until(lambda: something_is_stuck(app))
        assert [(found.what, found.reason) for found in stuck(app)] == [(f"{blocked}-0", Reason.NOT_PROCESSED)]


async def test_a_partition_that_waits_for_a_service_is_not_stuck_and_one_whose_hook_fails_is(
    kafka_bootstrap: str, new_app: NewApp, running: Running
) -> None:
    topic = await a_topic(kafka_bootstrap, 3)
    app = new_app()
    app_state(app).watchdog = Watchdog(after_s=0.3)
    BatchCollector(app, topic)
    silent, faulty = {TP(topic, 0)}, {TP(topic, 1)}

    async def positions(tps: frozenset[TP]) -> dict[TP, int]:
        if silent & tps:
            raise TimeoutError("shard 0 does not answer")
        if faulty & tps:
            raise RuntimeError("a fault of the hook")
        return {}

    start_at(app, positions, lambda tp: tp.partition)
    async with running(app):
        await until(lambda: something_is_stuck(app))
        assert [(found.what, found.reason) for found in stuck(app)] == [(f"{topic}-1", Reason.NOT_STARTED)]
        silent.clear()
        faulty.clear()
        await until(lambda: ready(app))
        assert not batched_consumer(app).held_up


async def test_a_position_beyond_the_end_is_said(
    kafka_bootstrap: str, new_app: NewApp, running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    """A ledger of a topic that was made anew: what is written below its position is not read."""
    topic = await a_topic(kafka_bootstrap, 1)
    app = new_app()
    processed: list[bytes | None] = []

    @app.agent(batched_topic(app, topic))
    async def keep_position(stream: Any) -> None:
        async for event in stream.noack().events():
            if event.value.start != 5:
                event.refuse(5)
            else:
                processed.extend(record.value for record in event.value.records)

    async def positions(tps: frozenset[TP]) -> dict[TP, int]:
        return dict.fromkeys(tps, 5)

    async def is_said() -> bool:
        await observe(batched_consumer(app))
        return any(getattr(one, "action", "") == "partition.beyond_end" for one in caplog.records)

    start_at(app, positions, lambda tp: tp.partition)
    async with running(app):
        await fill(kafka_bootstrap, topic, 0, [b"0", b"1", b"2"])
        await until(is_said)
        await fill(kafka_bootstrap, topic, 0, [b"3", b"4", b"5"])
        await until(lambda: processed == [b"5"])
        caplog.clear()
        for _ in range(3):
            assert not await is_said()


async def test_a_slow_batch_whose_records_are_processed_is_not_stuck(
    kafka_bootstrap: str, new_app: NewApp, running: Running
) -> None:
    blocked, slow = await a_topic(kafka_bootstrap, 1), await a_topic(kafka_bootstrap, 1)
    app = new_app()
    app_state(app).watchdog = Watchdog(after_s=0.3)
    batches = [BatchCollector(app, topic, ack=False) for topic in (blocked, slow)]
    processed = count()
    count_progress_by(app, slow, lambda partition: next(processed) if partition == 0 else None)

    async with running(app):
        for topic in (blocked, slow):
            await fill(kafka_bootstrap, topic, 0, [b"x"])
        await until(lambda: all(one.count == 1 for one in batches))
        await until(lambda: something_is_stuck(app))
        assert [found.what for found in stuck(app)] == [f"{blocked}-0"]


async def test_a_worker_is_ready_once_its_partitions_have_started(
    kafka_bootstrap: str, new_app: NewApp, running: Running
) -> None:
    app = new_app()
    BatchCollector(app, await a_topic(kafka_bootstrap, 1))
    called, may_start = asyncio.Event(), asyncio.Event()

    async def hook(tps: frozenset[TP]) -> None:
        called.set()
        await may_start.wait()

    on_assigned(app, hook)
    async with running(app):
        await called.wait()
        assert not ready(app)
        may_start.set()
        await until(lambda: ready(app))


async def test_without_its_source_topic_an_app_does_not_start(new_app: NewApp) -> None:
    app = new_app()
    BatchCollector(app, unique("missing"))
    app.finalize()
    await app.start()
    await until(lambda: app.crashed)
    assert "create them before the app starts" in str(app._crash_reason)
    await app.stop()


async def test_an_app_that_reads_nothing_starts_and_is_ready(new_app: NewApp, running: Running) -> None:
    app = new_app()
    async with asyncio.timeout(20), running(app):
        await until(lambda: ready(app))
