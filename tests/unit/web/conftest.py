"""The views of a worker that is not started, behind a real HTTP server, without services."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import msgspec
import pytest
from aiohttp.test_utils import TestClient, TestServer

from devtools.stack.paths import PROJECT
from notify_streams.app import NotifyApp, build_app
from notify_streams.logs import RepeatFilter
from notify_streams.public.relay import Relay
from notify_streams.secret import Secret
from notify_streams.settings import OutboxSettings, Settings
from notify_streams.web.user_lookup import user_lookup
from notify_streams.web.worker_objects import one_for

#: A port that nothing listens on: connections are refused at once.
NOWHERE = "127.0.0.1:1"

READ_TOKEN, WRITE_TOKEN, EDGE_TOKEN = "the-token-to-read", "the-token-to-write", "the-token-of-edges"

Visit = Callable[..., Awaitable[TestClient[Any, Any]]]
NewWorker = Callable[..., NotifyApp]


@pytest.fixture
def new_worker(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Callable[..., NotifyApp]:
    """Creates a worker of region us whose services are all unavailable."""
    monkeypatch.setenv("NOTIFY_CONFIG_DIR", str(PROJECT / "config"))

    def make(role: str = "views", **but: Any) -> NotifyApp:
        settings = Settings(
            region="us",
            kafka=NOWHERE,
            shards=(f"mongodb://{NOWHERE}/",),
            redis=f"redis://{NOWHERE}/0",
            dynamodb=f"http://{NOWHERE}",
            outbox=OutboxSettings(transaction_timeout_s=0.2),
            web_read_token=Secret(READ_TOKEN),
            web_write_token=Secret(WRITE_TOKEN),
            web_edge_token=Secret(EDGE_TOKEN),
            web_port_base=2,
            data_dir=str(tmp_path),
        )
        return build_app(msgspec.structs.replace(settings, **but), role)

    return make


@pytest.fixture
async def visit(new_worker: Callable[..., NotifyApp]) -> AsyncIterator[Visit]:
    """A client of a new worker's views, or of the worker's given."""
    clients: list[tuple[TestClient[Any, Any], NotifyApp]] = []

    async def open_client(worker: NotifyApp | None = None, **but: Any) -> TestClient[Any, Any]:
        worker = worker or new_worker(**but)
        await worker.shards.start()
        client: TestClient[Any, Any] = TestClient(TestServer(await worker.web.wsgi()))
        await client.start_server()
        clients.append((client, worker))
        return client

    yield open_client
    for client, worker in clients:
        await client.close()
        await user_lookup(worker).close()
        await one_for(worker, Relay).close()
        await worker.shards.close()


@pytest.fixture
def bounded_log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """The lines that a worker would write: one a minute of each kind."""
    repeats = RepeatFilter()
    caplog.handler.addFilter(repeats)
    yield caplog
    # The handler is that of all tests of the process.
    caplog.handler.removeFilter(repeats)
