"""Constructs every DynamoDB client: endpoint, credentials, timeouts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiobotocore.config import AioConfig
from aiobotocore.session import get_session

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager


def client(
    url: str | None,
    service: str = "dynamodb",
    *,
    region: str | None = None,
    connect_timeout_s: float = 1.0,
    read_timeout_s: float = 4.0,
    max_connections: int = 32,
) -> AbstractAsyncContextManager[Any]:
    """A client that connects at its first call and never repeats one: the callers' `RetryPolicy` does.

    Args:
        url: of DynamoDB Local, which accepts any credentials; None: AWS, with credentials and region from the usual chain
            (environment, profile, web identity, instance).
        region: of AWS, instead of that of the chain.
        service: ``dynamodb``, or ``dynamodbstreams`` for the table's change stream.
    """
    options: dict[str, Any] = {} if region is None else {"region_name": region}
    if url is not None:
        options = {
            "endpoint_url": url,
            "region_name": region or "us-east-1",
            "aws_access_key_id": "local",
            "aws_secret_access_key": "local",
        }
    config = AioConfig(
        connect_timeout=connect_timeout_s,
        read_timeout=read_timeout_s,
        retries={"total_max_attempts": 1},
        max_pool_connections=max_connections,
    )
    manager: AbstractAsyncContextManager[Any] = get_session().create_client(service, config=config, **options)
    return manager
