"""Registries of two regions on DynamoDB Local, shared by the run; each test has its own table."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from devtools.stack.dynamodb import DynamoDB
from devtools.stack.ports import free_port
from notify_streams.registry.schema import create_table
from notify_streams.registry.users_table import UsersTable
from notify_streams.retry import RetryPolicy
from tests.integration.registry.registry_builders import Replicator, some_settings
from tests.integration.registry.registry_region import RegistryRegion, start_registry_region
from tests.local_services import or_skipped


@pytest.fixture(scope="session")
def dynamodbs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, DynamoDB]]:
    services = {name: DynamoDB(name, tmp_path_factory.mktemp(f"dynamodb-{name}"), free_port()) for name in ("us", "eu")}
    with or_skipped():
        for service in services.values():
            service.start()
    yield services
    for service in services.values():
        service.kill()


@pytest.fixture
def table_name(request: pytest.FixtureRequest) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in request.node.name)[:120]


@pytest.fixture
async def registries(dynamodbs: dict[str, DynamoDB], table_name: str) -> AsyncIterator[dict[str, UsersTable]]:
    """The same table in both regions, not replicated."""
    retries = RetryPolicy("test", first_s=0.01, max_s=0.05, max_attempts=5)
    tables = {
        name: UsersTable(some_settings(name, one.address, table_name), retries) for name, one in dynamodbs.items()
    }
    for table in tables.values():
        await table.start()
        await create_table(table.client, table_name)
    yield tables
    for table in tables.values():
        await table.close()


@pytest.fixture
async def registry(registries: dict[str, UsersTable]) -> UsersTable:
    return registries["us"]


@pytest.fixture
async def replicator(dynamodbs: dict[str, DynamoDB], table_name: str, tmp_path: Path) -> AsyncIterator[Replicator]:
    urls = {name: service.address for name, service in dynamodbs.items()}
    made = Replicator(tmp_path / "replicator", urls, table_name)
    yield made
    await made.kill()


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def region() -> AsyncIterator[RegistryRegion]:
    """Region us with services and workers, for the tests of this folder."""
    async with start_registry_region() as made:
        yield made
