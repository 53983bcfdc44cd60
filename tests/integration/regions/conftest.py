"""The Kafka of another region: a separate broker behind a link with a round trip of 100 ms that can hang or be cut."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from devtools.fakes.latency_proxy import LatencyProxy
from devtools.stack.kafka import Kafka, private_broker
from devtools.stack.ports import free_port
from notify_streams.settings import OutboxSettings, Settings
from tests.local_services import or_skipped

DELAY_S = 0.05


@pytest.fixture(scope="session")
def link_port() -> int:
    return free_port()


@pytest.fixture(scope="session")
def remote_broker(tmp_path_factory: pytest.TempPathFactory, link_port: int) -> Iterator[Kafka]:
    folder = tmp_path_factory.mktemp("remote")
    with or_skipped(), private_broker(folder, advertised=f"127.0.0.1:{link_port}") as broker:
        yield broker


@pytest.fixture
async def link(remote_broker: Kafka, link_port: int) -> AsyncIterator[LatencyProxy]:
    made = LatencyProxy(link_port, remote_broker.address, DELAY_S)
    await made.start()
    yield made
    await made.cut()


@pytest.fixture
def some_settings() -> Settings:
    return Settings(
        region="us", kafka="none:1", shards=("none",), redis="none", outbox=OutboxSettings(publish_timeout_s=3.0)
    )
