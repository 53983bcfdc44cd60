"""Creates the table `users`: a Global Table on AWS, a single table locally.

A Global Table is created once, in one AWS region, with its replicas: tables that were created apart cannot be joined.
DynamoDB Local has no replicas; the local stack's replicator copies between the regions' tables instead.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from notify_streams.errors import RetryLater
from notify_streams.registry.dynamodb_errors import error_code, translate
from notify_streams.registry.user import KEY

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


async def create_table(
    client: Any, name: str, replicas: Sequence[str] = (), timeout_s: float = 900.0, poll_s: float = 0.5
) -> None:
    """Create the table unless it exists, then each missing replica (AWS region names), one after the other as AWS requires.

    Idempotent: repeated after a failure, it continues where it stopped.

    Raises:
        RetryLater: the table or a replica is not active after `timeout_s`.
    """
    try:
        async with asyncio.timeout(timeout_s):
            await _create(client, name)
            table = await _wait_for(client, name, poll_s, lambda table: bool(table["TableStatus"] == "ACTIVE"))
            for replica in replicas:
                if replica not in _replicas(table):
                    await client.update_table(TableName=name, ReplicaUpdates=[{"Create": {"RegionName": replica}}])
                table = await _wait_for(client, name, poll_s, partial(_has_replica, replica))
    except TimeoutError:
        raise RetryLater(
            f"table {name} is not active in all regions after {timeout_s:.0f} s; run the command again"
        ) from None
    except (ClientError, BotoCoreError) as error:
        raise translate(error, "create_table") from error


async def protect_table(client: Any, name: str) -> list[str]:
    """Keep backups for any second of the last 35 days, and refuse a deletion. Both hold for this AWS region's replica alone.

    Idempotent.

    Returns:
        What was switched on.

    Raises:
        NotifyError: DynamoDB does not answer, or refuses.
    """
    done = []
    try:
        backups = (await client.describe_continuous_backups(TableName=name))["ContinuousBackupsDescription"]
        if backups.get("PointInTimeRecoveryDescription", {}).get("PointInTimeRecoveryStatus") != "ENABLED":
            await client.update_continuous_backups(
                TableName=name, PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True}
            )
            done.append("point-in-time recovery")
        if not (await client.describe_table(TableName=name))["Table"].get("DeletionProtectionEnabled"):
            await client.update_table(TableName=name, DeletionProtectionEnabled=True)
            done.append("deletion protection")
    except (ClientError, BotoCoreError, OSError) as error:
        raise translate(error, "protect_table") from error
    return done


def replica_regions(table: Any) -> list[str]:
    """The AWS regions of the other replicas in a response of `describe_table`."""
    return sorted(_replicas(table["Table"]))


async def _create(client: Any, name: str) -> None:
    """A Global Table needs a stream with both images. On-demand billing: capacity cannot differ between replicas."""
    try:
        await client.create_table(
            TableName=name,
            AttributeDefinitions=[{"AttributeName": KEY, "AttributeType": "S"}],
            KeySchema=[{"AttributeName": KEY, "KeyType": "HASH"}],
            BillingMode="PAY_PER_REQUEST",
            StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
        )
    except ClientError as error:
        if error_code(error) != "ResourceInUseException":
            raise


def _replicas(table: Any) -> dict[str, str]:
    return {replica["RegionName"]: replica.get("ReplicaStatus", "") for replica in table.get("Replicas", ())}


def _has_replica(replica: str, table: Any) -> bool:
    return bool(table["TableStatus"] == "ACTIVE" and _replicas(table).get(replica) == "ACTIVE")


async def _wait_for(client: Any, name: str, poll_s: float, condition: Callable[[Any], bool]) -> Any:
    while True:
        try:
            table = (await client.describe_table(TableName=name))["Table"]
        except ClientError as error:
            if error_code(error) != "ResourceNotFoundException":
                raise
        else:
            if condition(table):
                return table
        await asyncio.sleep(poll_s)
