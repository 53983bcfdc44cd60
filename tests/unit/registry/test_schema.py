"""Creating the Global Table: the requests to AWS, in order. A fake, because DynamoDB Local has no replicas."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from botocore.exceptions import ClientError
from botocore.session import get_session
from botocore.validate import ParamValidator

from notify_streams.errors import RetryLater, StoreUnavailable
from notify_streams.registry.schema import create_table

MODEL = get_session().get_service_model("dynamodb")


def check(operation: str, request: Any) -> None:
    """Against AWS's model of the operation, as botocore does before it sends a request."""
    report = ParamValidator().validate(request, MODEL.operation_model(operation).input_shape)
    assert not report.has_errors(), report.generate_report()


class FakeDynamoDB:
    """One table. A replica becomes active after a few `describe_table`; one change at a time, as on AWS."""

    def __init__(self, exists: bool = False, replicas: tuple[str, ...] = (), describes: int = 2) -> None:
        self.requests: list[tuple[str, Any]] = []
        self.exists = exists
        self.replicas = dict.fromkeys(replicas, 0)
        self.describes = describes

    async def create_table(self, **table: Any) -> None:
        check("CreateTable", table)
        self.requests.append(("create_table", table))
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
        check("UpdateTable", {"TableName": TableName, "ReplicaUpdates": ReplicaUpdates})
        [update] = ReplicaUpdates
        self.requests.append(("update_table", update))
        self.replicas[update["Create"]["RegionName"]] = self.describes


async def test_the_table_is_created_then_one_replica_after_the_other() -> None:
    aws = FakeDynamoDB()
    await create_table(aws, "users", ["eu-west-1", "ap-southeast-1"], poll_s=0.001)
    made = aws.requests[0][1]
    assert made["StreamSpecification"] == {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}
    assert (made["BillingMode"], made["KeySchema"]) == (
        "PAY_PER_REQUEST",
        [{"AttributeName": "user_id", "KeyType": "HASH"}],
    )
    assert [one["Create"]["RegionName"] for _, one in aws.requests[1:]] == ["eu-west-1", "ap-southeast-1"]


async def test_a_repeated_call_creates_only_missing_replicas() -> None:
    aws = FakeDynamoDB(exists=True, replicas=("eu-west-1",))
    await create_table(aws, "users", ["eu-west-1", "ap-southeast-1"], poll_s=0.001)
    assert [one for name, one in aws.requests if name == "update_table"] == [
        {"Create": {"RegionName": "ap-southeast-1"}}
    ]


async def test_a_replica_that_does_not_become_active_is_retry_later() -> None:
    with pytest.raises(RetryLater, match="run the command again"):
        await asyncio.wait_for(
            create_table(FakeDynamoDB(describes=10**9), "users", ["eu-west-1"], timeout_s=0.1, poll_s=0.001), 5
        )


class RefusingDynamoDB(FakeDynamoDB):
    async def create_table(self, **table: Any) -> None:
        raise ClientError(
            {"Error": {"Code": "AccessDeniedException"}, "ResponseMetadata": {"HTTPStatusCode": 400}}, "CreateTable"
        )


async def test_a_refusal_names_the_error() -> None:
    with pytest.raises(StoreUnavailable, match="AccessDeniedException"):
        await create_table(RefusingDynamoDB(), "users", poll_s=0.001)
