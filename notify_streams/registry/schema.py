"""Making the table `users`: on AWS a Global Table with a replica in each region, on DynamoDB Local the table alone.

DynamoDB Local refuses replicas; there the local stack's replicator copies between the regions' tables.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from notify_streams.errors import RetryLater
from notify_streams.registry.dynamodb_errors import code_of, translate
from notify_streams.registry.user import KEY

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


async def create_table(
    client: Any, name: str, replicas: Sequence[str] = (), patience_s: float = 900.0, poll_s: float = 0.5
) -> None:
    """Make the table unless it is there, then each missing replica (AWS region names), one after the other as AWS demands.

    Idempotent: run again after a failure, it goes on where it stopped.

    Raises:
        RetryLater: the table or a replica is not active after `patience_s`.
    """
    try:
        async with asyncio.timeout(patience_s):
            await _make(client, name)
            table = await _until(client, name, poll_s, lambda table: bool(table["TableStatus"] == "ACTIVE"))
            for replica in replicas:
                if replica not in _replicas(table):
                    await client.update_table(TableName=name, ReplicaUpdates=[{"Create": {"RegionName": replica}}])
                table = await _until(client, name, poll_s, partial(_has_replica, replica))
    except TimeoutError:
        raise RetryLater(
            f"table {name} is not active everywhere after {patience_s:.0f} s; run the same again"
        ) from None
    except (ClientError, BotoCoreError) as error:
        raise translate(error, "create_table") from error


async def _make(client: Any, name: str) -> None:
    """A Global Table needs the stream with both images; on-demand billing has no capacity that could differ between replicas."""
    try:
        await client.create_table(
            TableName=name,
            AttributeDefinitions=[{"AttributeName": KEY, "AttributeType": "S"}],
            KeySchema=[{"AttributeName": KEY, "KeyType": "HASH"}],
            BillingMode="PAY_PER_REQUEST",
            StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
        )
    except ClientError as error:
        if code_of(error) != "ResourceInUseException":
            raise


def _replicas(table: Any) -> dict[str, str]:
    return {replica["RegionName"]: replica.get("ReplicaStatus", "") for replica in table.get("Replicas", ())}


def _has_replica(replica: str, table: Any) -> bool:
    return bool(table["TableStatus"] == "ACTIVE" and _replicas(table).get(replica) == "ACTIVE")


async def _until(client: Any, name: str, poll_s: float, holds: Callable[[Any], bool]) -> Any:
    while True:
        try:
            table = (await client.describe_table(TableName=name))["Table"]
        except ClientError as error:
            if code_of(error) != "ResourceNotFoundException":
                raise
        else:
            if holds(table):
                return table
        await asyncio.sleep(poll_s)
