"""A worker stops although its client pauses before its next fetch, after a failure or for the gap between two, or waits for a commit."""

import asyncio
import dataclasses
from pathlib import Path
from typing import Any

import pytest

from devtools.stack.kafka import private_broker
from notify_streams.transport import batched_consumer, batched_topic
from tests.integration.paused_fetches import a_fetch_pauses
from tests.integration.transport.batch_collector import BatchCollector
from tests.integration.transport.conftest import FAST, NewApp, Running
from tests.integration.transport.kafka_topics import a_topic, fill, until

#: As FAST; but a request to Kafka times out sooner.
QUICK = dataclasses.replace(FAST, request_timeout_s=1.0)


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("broker_away", [True, False], ids=["the broker is away", "the next fetch is delayed"])
async def test_a_worker_stops_while_a_fetch_pauses(
    broker_away: bool, new_app: NewApp, running: Running, tmp_path: Path
) -> None:
    """Faust waits 60 s for a client thread that ended early, and then logs an error."""
    with private_broker(tmp_path / "kafka") as broker:
        topic = await a_topic(broker.address, 1)
        gap_s = 0.0 if broker_away else 3600.0
        app = new_app(settings=dataclasses.replace(QUICK, fetch_gap_s=gap_s), bootstrap=broker.address)
        collected = BatchCollector(app, topic)
        await fill(broker.address, topic, 0, [b"first"])
        async with running(app):
            thread: Any = batched_consumer(app)._thread
            if broker_away:
                await until(lambda: collected.count == 1)
                broker.stop()
            await until(lambda: a_fetch_pauses(thread._consumer))
        assert all(not connection.connected() for connection in thread._consumer._client._conns.values())


async def test_a_worker_stops_while_no_broker_answers_its_commit(
    new_app: NewApp, running: Running, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with private_broker(tmp_path / "kafka") as broker:
        topic = await a_topic(broker.address, 1)
        app = new_app(settings=QUICK, bootstrap=broker.address)
        taken, go_on = asyncio.Event(), asyncio.Event()

        @app.agent(batched_topic(app, topic))
        async def hold(stream: Any) -> None:
            async for event in stream.noack().events():
                taken.set()
                await go_on.wait()
                event.ack()

        await fill(broker.address, topic, 0, [b"first"])
        async with running(app):
            await taken.wait()
            broker.stop()
            go_on.set()
            await until(lambda: any(getattr(one, "action", "") == "offsets.commit_retry" for one in caplog.records))
            await until(lambda: batched_consumer(app)._commit_fut is not None)
        assert batched_consumer(app)._commit_fut is None
