"""Finds out which of a region's services do not answer, or refuse us."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import aiohttp
from aiokafka.errors import KafkaConnectionError, KafkaError
from pymongo.errors import PyMongoError
from redis.exceptions import RedisError

from notify_streams import kafka
from notify_streams.addresses import without_credentials
from notify_streams.admin.topic_acls import role_accesses
from notify_streams.errors import NotifyError, StoreUnavailable
from notify_streams.stores import redis
from notify_streams.stores.mongo import mongo_client
from notify_streams.stores.mongo_errors import mongo_reason, mongo_refusal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from notify_streams.settings import Settings

#: A service that has not answered then counts as down.
_ANSWER_S: Final = 2.0
#: So that the driver's own error comes first.
_DRIVER_FIRST_S: Final = 0.5
_LIST_TABLES: Final = {
    "Content-Type": "application/x-amz-json-1.0",
    "X-Amz-Target": "DynamoDB_20120810.ListTables",
    "Authorization": "AWS4-HMAC-SHA256 Credential=local/20250101/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=0",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """A service that cannot be used."""

    #: Which service at which address, what is wrong; after a refusal also what to do.
    sentence: str
    #: It answers, and refuses this client: an operator must change something.
    refused: bool = False


async def faults(settings: Settings, within_s: float = _ANSWER_S) -> list[Fault]:
    """Each service of the settings that does not answer within `within_s`, or refuses this client. Never raises.

    DynamoDB in AWS is left out: not everybody who may run a command has credentials for it.
    """
    return [fault for fault in (await service_faults(settings, within_s)).values() if fault is not None]


async def service_faults(settings: Settings, within_s: float = _ANSWER_S) -> dict[str, Fault | None]:
    """As `faults`, by service; None: it answers."""
    checks = service_checks(settings)
    answers = await asyncio.gather(*(check(within_s) for check in checks.values()))
    return dict(zip(checks, answers, strict=True))


def service_checks(settings: Settings) -> dict[str, Callable[[float], Awaitable[Fault | None]]]:
    """Service → asks it once within so many seconds. Never raises."""
    asked: dict[str, Callable[[float], Awaitable[None]]] = {
        f"Kafka at {settings.kafka}": partial(kafka.check_connection, settings.kafka_connection())
    }
    for number, uri in enumerate(settings.shards):
        asked[f"MongoDB shard {number} at {without_credentials(uri)}"] = partial(_check_mongodb, uri, settings)
    asked[f"Redis at {without_credentials(settings.redis)}"] = partial(_check_redis, settings)
    if settings.dynamodb is not None:
        asked[f"DynamoDB at {without_credentials(settings.dynamodb)}"] = partial(_check_dynamodb, settings.dynamodb)
    return {service: partial(_fault_within, service, check) for service, check in asked.items()}


async def _fault_within(service: str, check: Callable[[float], Awaitable[None]], within_s: float) -> Fault | None:
    return await fault_of(service, check(within_s), within_s)


async def require_access(settings: Settings, role: str) -> None:
    """Check before a worker starts that no service refuses it. One that is away is waited for later, except Kafka.

    Of the rights in Kafka it sees whether each topic and the group exist for this user; what it may do with them, only a call tells.

    Raises:
        StoreUnavailable: one sentence for each service.
    """
    # A command answers at once; a worker that starts on a busy machine may take some seconds to log in.
    found = await faults(settings, settings.broker.request_timeout_s)
    fatal = [fault.sentence for fault in found if fault.refused or fault.sentence.startswith("Kafka ")]
    if not fatal:
        fatal = await _missing_rights(settings, role)
    if fatal:
        raise StoreUnavailable(f"region {settings.region}, role {role}: {'; '.join(fatal)}")


async def _missing_rights(settings: Settings, role: str) -> list[str]:
    connection = settings.kafka_connection()
    accesses = role_accesses(settings, role)
    admin = kafka.admin(connection, request_timeout_s=settings.broker.request_timeout_s)
    producer = kafka.producer(connection, request_timeout_s=settings.broker.request_timeout_s)
    try:
        await admin.start()
        await kafka.require_visible(admin, [one.name for one in accesses if one.resource == "topic"])
        for group in (one.name for one in accesses if one.resource == "group"):
            await kafka.require_group(admin, group)
        if any("Write" in one.operations for one in accesses):
            await producer.start()
    except KafkaError as error:
        sentence = kafka.missing_right(connection, error)
        return [] if sentence is None else [sentence]
    finally:
        await producer.stop()
        await admin.close()
    return []


async def fault_of(service: str, check: Awaitable[object], within_s: float) -> Fault | None:
    """Why the check failed within `within_s`, None if it succeeded. Never a driver's own text: drivers put addresses and more into it."""
    refusal: str | None = None
    try:
        await asyncio.wait_for(check, within_s)
    except TimeoutError:
        return Fault(f"{service} does not respond within {within_s:g} s")
    except KafkaConnectionError as error:
        return Fault(str(error.args[0]), isinstance(error, kafka.AccessRefused))
    except PyMongoError as error:
        reason, refusal = mongo_reason(error), mongo_refusal(error)
    except RedisError as error:
        reason, refusal = redis.redis_reason(error), redis.redis_refusal(error)
    except NotifyError as error:
        reason = f"cannot be used: {error}"
    except Exception as error:  # whatever a driver raises, the service cannot be used
        reason = f"failed: {type(error).__name__}"
    else:
        return None
    return Fault(f"{service} {reason.replace('failed: ', 'does not answer: ', 1)}", refusal is not None)


async def _check_mongodb(uri: str, settings: Settings, within_s: float) -> None:
    connect_s = within_s - _DRIVER_FIRST_S
    async with mongo_client(uri, settings.mongo_security, "notify-streams-check", connect_s) as client:
        await client[settings.database].command("dbStats")


async def _check_redis(settings: Settings, _within_s: float) -> None:
    async with redis.connect(settings) as client:
        await redis.check(client)


async def _check_dynamodb(url: str, _within_s: float) -> None:
    """One request without botocore, which takes a second of CPU to load. DynamoDB Local checks no signature."""
    async with aiohttp.ClientSession() as http, http.post(url, data=b'{"Limit":1}', headers=_LIST_TABLES) as response:
        response.raise_for_status()
