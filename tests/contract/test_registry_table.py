"""The registry's table as moto plays AWS, found as on AWS: by credentials and endpoint of the environment. moto has no replicas."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from zoneinfo import available_timezones

import msgspec
import pytest
from moto.dynamodb.models import dynamodb_backends
from moto.server import ThreadedMotoServer

from notify_streams.admin.bootstrap import create_registry
from notify_streams.admin.registry_table import init_table, policies
from notify_streams.records.names import MAX_LENGTH
from notify_streams.records.user_records import Signup, read_signup
from notify_streams.registry.user import User, from_signup
from notify_streams.registry.users_table import UsersTable, WriteOutcome
from notify_streams.stores import dynamodb
from tests.builders import some_settings

SETTINGS = some_settings(users_table="people")


@pytest.fixture(autouse=True)
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    environ = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.get_host_and_port()[1]}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    yield
    server.stop()
    dynamodb_backends.reset()


async def test_the_table_is_protected_once() -> None:
    done = await init_table(SETTINGS, [], timeout_s=20.0)
    assert done["replicas"] == ["us-east-1"]
    assert set(done["protected"]["us-east-1"]) == {"point-in-time recovery", "deletion protection"}
    async with dynamodb.client(None) as client:
        table = (await client.describe_table(TableName="people"))["Table"]
        backups = (await client.describe_continuous_backups(TableName="people"))["ContinuousBackupsDescription"]
    assert (table["TableStatus"], table["DeletionProtectionEnabled"]) == ("ACTIVE", True)
    assert backups["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"] == "ENABLED"
    assert await init_table(SETTINGS, [], timeout_s=20.0) == done | {"protected": {"us-east-1": []}}


async def test_preparing_a_region_on_aws_creates_no_table_of_its_own() -> None:
    await create_registry(SETTINGS)
    async with dynamodb.client(None) as client:
        assert (await client.list_tables())["TableNames"] == []


def test_each_identity_may_do_what_its_role_does_with_this_table_only() -> None:
    found = policies("people")
    allowed = {name: one["Statement"][0] for name, one in found.items()}
    assert {one["Resource"] for one in allowed.values()} == {"arn:aws:dynamodb:*:*:table/people"}
    assert not any(action.endswith("Table") for action in allowed["registry"]["Action"] if "Describe" not in action)
    assert not {"dynamodb:PutItem", "dynamodb:DeleteItem"} & set(allowed["views"]["Action"])
    assert not {"dynamodb:PutItem", "dynamodb:DeleteItem"} & set(allowed["webhooks"]["Action"])


#: https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html
MAX_TRANSACTION_ITEMS, MAX_TRANSACTION_BYTES = 100, 4 * 1024 * 1024
#: https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchGetItem.html
MAX_BATCH_KEYS = 100


class RecordedClient:
    """Passes calls on; keeps their names and arguments."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def __getattr__(self, name: str) -> Any:
        async def call(**arguments: Any) -> Any:
            self.calls.append((name, arguments))
            return await getattr(self._client, name)(**arguments)

        return call


def largest_user(number: int) -> User:
    """A row with the largest value that a sign-up may have in each field: 128 characters of 4 bytes."""
    name = f"{number:03}".ljust(MAX_LENGTH, "\N{GRINNING FACE}")
    signup = {"user_id": name, "updated_at": "9999-12-31T23:59:59.999999Z", "version": 2**53 - 1}
    zone = max(available_timezones(), key=len)
    found = read_signup(msgspec.json.encode(signup | {"region": name, "standby": name, "time_zone": zone}), 0)
    assert isinstance(found, Signup), found
    return from_signup(found, previous=name)


async def test_the_largest_rows_are_written_within_the_limits_of_a_transaction() -> None:
    await init_table(SETTINGS, [], timeout_s=20.0)
    users = [largest_user(number) for number in range(MAX_TRANSACTION_ITEMS + 50)]
    table = UsersTable(SETTINGS)
    await table.start()
    try:
        table.client = recorded = RecordedClient(table.client)
        written = await table.put_many(users)
        assert {one.outcome for one in written} == {WriteOutcome.WRITTEN}
        transactions = [arguments["TransactItems"] for name, arguments in recorded.calls]
        assert {name for name, _ in recorded.calls} == {"transact_write_items"}, "none was refused and divided"
        # One that is in conflict is sent again.
        assert set(map(len, transactions)) == {50, MAX_TRANSACTION_ITEMS}
        # The text of the request is longer than what DynamoDB counts.
        assert max(len(json.dumps(one, ensure_ascii=False).encode()) for one in transactions) < MAX_TRANSACTION_BYTES
        recorded.calls.clear()
        assert await table.get_many([user.user_id for user in users]) == {user.user_id: user for user in users}
        keys = [arguments["RequestItems"]["people"]["Keys"] for name, arguments in recorded.calls]
        assert sorted(map(len, keys)) == [50, MAX_BATCH_KEYS]
    finally:
        await table.close()
