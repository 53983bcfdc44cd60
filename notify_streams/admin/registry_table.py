"""The registry on AWS: its Global Table, and what each role may do with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from notify_streams.registry.schema import create_table, protect_table, replica_regions
from notify_streams.stores import dynamodb

if TYPE_CHECKING:
    from collections.abc import Sequence

    from notify_streams.settings import Settings

_READS: Final = ("dynamodb:BatchGetItem", "dynamodb:DescribeTable", "dynamodb:GetItem")
_WRITES: Final = ("dynamodb:DeleteItem", "dynamodb:PutItem", "dynamodb:Scan")
_SETUP: Final = (
    "dynamodb:CreateTable",
    "dynamodb:CreateTableReplica",
    "dynamodb:DescribeContinuousBackups",
    "dynamodb:DescribeTable",
    "dynamodb:UpdateContinuousBackups",
    "dynamodb:UpdateTable",
)
#: What AWS asks of who creates a replica, beside `_SETUP`
#: (https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/globaltables-security.html).
_REPLICATION: Final = (
    "dynamodb:BatchWriteItem",
    "dynamodb:DeleteItem",
    "dynamodb:GetItem",
    "dynamodb:PutItem",
    "dynamodb:Query",
    "dynamodb:Scan",
    "dynamodb:UpdateItem",
)
#: Identity → what it may do with the table. The roles that are not named need no access. `operator`: who runs commands;
#: `restore apply` erases and reads every location.
_ALLOWED: Final = {
    "registry": (*_READS, *_WRITES),
    "views": _READS,
    "webhooks": _READS,
    "operator": (*_READS, *_WRITES),
    "setup": (*_SETUP, *_REPLICATION),
}
_VERSION: Final = "2012-10-17"


async def init_table(settings: Settings, replicas: Sequence[str], timeout_s: float) -> dict[str, Any]:
    """Create the Global Table and its replicas, each with point-in-time recovery and deletion protection. Idempotent.

    Args:
        replicas: AWS regions, beside that of the credentials.
        timeout_s: for the table and all replicas.

    Returns:
        ``{"table", "replicas", "protected": {AWS region: what was switched on}}``.

    Raises:
        NotifyError: DynamoDB does not answer, refuses, or is not ready in time; run it again.
    """
    name = settings.users_table
    async with dynamodb.client(settings.dynamodb) as client:
        await create_table(client, name, replicas, timeout_s, poll_s=0.5 if settings.dynamodb else 5.0)
        others = replica_regions(await client.describe_table(TableName=name))
        here = client.meta.region_name
        protected = {here: await protect_table(client, name)}
    for region in others:
        if region != here:
            async with dynamodb.client(settings.dynamodb, region=region) as client:
                protected[region] = await protect_table(client, name)
    return {"table": name, "replicas": sorted(protected), "protected": protected}


def policies(table: str) -> dict[str, Any]:
    """The IAM policy of each identity that needs the table, in any account and AWS region."""
    arn = f"arn:aws:dynamodb:*:*:table/{table}"
    found = {name: _policy(actions, arn) for name, actions in _ALLOWED.items()}
    found["setup"]["Statement"].append(
        {
            "Effect": "Allow",
            "Action": ["iam:CreateServiceLinkedRole"],
            "Resource": "arn:aws:iam::*:role/aws-service-role/replication.dynamodb.amazonaws.com/*",
        }
    )
    return found


def _policy(actions: Sequence[str], arn: str) -> dict[str, Any]:
    return {"Version": _VERSION, "Statement": [{"Effect": "Allow", "Action": sorted(actions), "Resource": arn}]}
