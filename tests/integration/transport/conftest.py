"""Faust apps in this process, on a real broker."""

import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import faust
import pytest

from notify_streams.transport import TransportSettings, attach
from tests.integration.transport.kafka_topics import unique

NewApp = Callable[..., faust.App]
Running = Callable[[faust.App], contextlib.AbstractAsyncContextManager[faust.App]]

FAST = TransportSettings(commit_interval_s=0.1, drain_timeout_s=1.0, session_timeout_s=2.0, heartbeat_s=0.5)


@pytest.fixture
def new_app(kafka_bootstrap: str, tmp_path: Path) -> NewApp:
    """Makes apps of a new group each, or of the group `id`."""

    def make(
        id: str | None = None,
        scheme: str = "batched",
        settings: TransportSettings = FAST,
        bootstrap: str = kafka_bootstrap,
        **options: Any,
    ) -> faust.App:
        app = faust.App(
            id or unique("app"),
            broker=f"{scheme}://{bootstrap}",
            datadir=str(tmp_path / unique("data")),
            web_enabled=False,
            topic_disable_leader=True,
            broker_commit_interval=0.1,
            **options,
        )
        attach(app, settings)
        return app

    return make


@pytest.fixture
def running() -> Running:
    @contextlib.asynccontextmanager
    async def run(app: faust.App) -> AsyncIterator[faust.App]:
        app.finalize()
        await app.start()
        try:
            yield app
        finally:
            await app.stop()

    return run
