"""Making the Global Table: what AWS is asked for, in the order that it demands. DynamoDB Local refuses replicas, so a fake stands in."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from botocore.exceptions import ClientError

from notify_streams.errors import RetryLater, SettingsError
from notify_streams.registry.schema import create_table


class FakeDynamoDB:
    """One table whose replicas take a few looks to become active; it takes one change at a time, as AWS does."""

    def __init__(self, exists: bool = False, replicas: tuple[str, ...] = (), looks: int = 2) -> None:
        self.asked: list[tuple[str, Any]] = []
        self.exists = exists
        self.replicas = dict.fromkeys(replicas, 0)
        self.looks = looks

    async def create_table(self, **table: Any) -> None:
        self.asked.append(("create_table", table))
        if self.exists:
            raise ClientError({"Error": {"Code": "ResourceInUseException"}}, "CreateTable")
        self.exists = True

    async def describe_table(self, TableName: str) -> dict[str, Any]:
        statuses = {name: "ACTIVE" if left <= 0 else "CREATING" for name, left in self.replicas.items()}
        self.replicas = {name: left - 1 for name, left in self.replicas.items()}
        busy = "CREATING" in statuses.values()
        replicas = [{"RegionName": name, "ReplicaStatus": status} for name, status in statuses.items()]
        return {"Table": {"TableStatus": "UPDATING" if busy else "ACTIVE", "Replicas": replicas}}

    async def update_table(self, TableName: str, ReplicaUpdates: list[Any]) -> None:
        assert all(left < 0 for left in self.replicas.values()), "one replica at a time"
        [update] = ReplicaUpdates
        self.asked.append(("update_table", update))
        self.replicas[update["Create"]["RegionName"]] = self.looks


async def test_a_table_is_made_and_each_replica_after_the_other() -> None:
    aws = FakeDynamoDB()
    await create_table(aws, "users", ["eu-west-1", "ap-southeast-1"], poll_s=0.001)
    made = aws.asked[0][1]
    assert made["StreamSpecification"] == {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}
    assert (made["BillingMode"], made["KeySchema"]) == (
        "PAY_PER_REQUEST",
        [{"AttributeName": "user_id", "KeyType": "HASH"}],
    )
    assert [one["Create"]["RegionName"] for _, one in aws.asked[1:]] == ["eu-west-1", "ap-southeast-1"]


async def test_given_again_it_makes_only_what_is_missing() -> None:
    aws = FakeDynamoDB(exists=True, replicas=("eu-west-1",))
    await create_table(aws, "users", ["eu-west-1", "ap-southeast-1"], poll_s=0.001)
    assert [one for name, one in aws.asked if name == "update_table"] == [{"Create": {"RegionName": "ap-southeast-1"}}]


async def test_a_replica_that_does_not_come_is_retry_later() -> None:
    with pytest.raises(RetryLater, match="run the same again"):
        await asyncio.wait_for(
            create_table(FakeDynamoDB(looks=10**9), "users", ["eu-west-1"], patience_s=0.1, poll_s=0.001), 5
        )


async def test_a_refusal_names_itself() -> None:
    aws = FakeDynamoDB()

    async def refuse(**_: Any) -> None:
        raise ClientError(
            {"Error": {"Code": "AccessDeniedException"}, "ResponseMetadata": {"HTTPStatusCode": 400}}, "CreateTable"
        )  # type: ignore[typeddict-item]

    aws.create_table = refuse  # type: ignore[method-assign]
    with pytest.raises(SettingsError, match="AccessDeniedException"):
        await create_table(aws, "users", poll_s=0.001)
