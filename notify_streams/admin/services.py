"""Finds out which of a region's services do not answer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from aiokafka.errors import KafkaConnectionError
from pymongo.errors import PyMongoError
from redis.exceptions import RedisError

from notify_streams import kafka
from notify_streams.addresses import without_credentials
from notify_streams.stores import dynamodb, redis
from notify_streams.stores.mongo import mongo_client
from notify_streams.stores.mongo_errors import mongo_reason

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from notify_streams.security import MongoSecurity
    from notify_streams.settings import Settings

#: A service that has not answered then counts as down.
_ANSWER_S: Final = 2.0
#: So that the driver's own error comes first.
_CONNECT_S: Final = 1.5


async def unreachable(settings: Settings) -> list[str]:
    """Each service of the settings that does not answer within 2 s, with its address and the kind of the error. Never raises.

    DynamoDB in AWS is left out: not everybody who may run a command has credentials for it.
    """
    checks: dict[str, Awaitable[None]] = {f"Kafka at {settings.kafka}": _check_kafka(settings)}
    for number, uri in enumerate(settings.shards):
        checks[f"MongoDB shard {number} at {without_credentials(uri)}"] = _check_mongodb(uri, settings.mongo_security)
    checks[f"Redis at {without_credentials(settings.redis)}"] = _check_redis(settings)
    if settings.dynamodb is not None:
        checks[f"DynamoDB at {without_credentials(settings.dynamodb)}"] = _check_dynamodb(settings.dynamodb)
    found = await asyncio.gather(*(_error_of(check) for check in checks.values()))
    return [f"{service} ({error})" for service, error in zip(checks, found, strict=True) if error]


async def _error_of(check: Awaitable[None]) -> str | None:
    """Why the check failed, never a driver's own text: drivers put addresses and more into it."""
    try:
        await asyncio.wait_for(check, _ANSWER_S)
    except TimeoutError:
        return f"no answer within {_ANSWER_S:g} s"
    except KafkaConnectionError as error:
        return str(error.args[0])
    except PyMongoError as error:
        return mongo_reason(error)
    except RedisError as error:
        return redis.redis_reason(error)
    except Exception as error:  # whatever a driver raises, the service cannot be used
        return type(error).__name__
    return None


async def _check_kafka(settings: Settings) -> None:
    await kafka.check_connection(settings.kafka_connection(), _ANSWER_S)


async def _check_mongodb(uri: str, security: MongoSecurity) -> None:
    async with mongo_client(uri, security, "notify-streams-check", _CONNECT_S) as client:
        await client.admin.command("ping")


async def _check_redis(settings: Settings) -> None:
    async with redis.connect(settings) as client:
        await client.execute_command("PING")  # type: ignore[no-untyped-call]


async def _check_dynamodb(url: str) -> None:
    async with dynamodb.client(url) as client:
        await client.list_tables(Limit=1)
