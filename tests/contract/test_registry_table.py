"""The registry's table as moto plays AWS, found as on AWS: by credentials and endpoint of the environment. moto has no replicas."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from moto.dynamodb.models import dynamodb_backends
from moto.server import ThreadedMotoServer

from notify_streams.admin.bootstrap import create_registry
from notify_streams.admin.registry_table import init_table, policies
from notify_streams.errors import SettingsError
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
    with pytest.raises(SettingsError, match="registry init"):
        await create_registry(SETTINGS)
    async with dynamodb.client(None) as client:
        assert (await client.list_tables())["TableNames"] == []
    await init_table(SETTINGS, [], timeout_s=20.0)
    await create_registry(SETTINGS)


def test_each_identity_may_do_what_its_role_does_with_this_table_only() -> None:
    found = policies("people")
    allowed = {name: one["Statement"][0] for name, one in found.items()}
    assert {one["Resource"] for one in allowed.values()} == {"arn:aws:dynamodb:*:*:table/people"}
    assert not any(action.endswith("Table") for action in allowed["registry"]["Action"] if "Describe" not in action)
    assert not {"dynamodb:PutItem", "dynamodb:DeleteItem"} & set(allowed["views"]["Action"])
    assert not {"dynamodb:PutItem", "dynamodb:DeleteItem"} & set(allowed["webhooks"]["Action"])
