"""Finds out which of a region's services do not answer, or refuse us."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aiokafka.errors import KafkaConnectionError, KafkaError
from pymongo.errors import PyMongoError
from redis.exceptions import RedisError

from notify_streams import kafka
from notify_streams.addresses import without_credentials
from notify_streams.admin.topic_acls import role_accesses
from notify_streams.errors import NotifyError, StoreUnavailable
from notify_streams.stores import dynamodb, redis
from notify_streams.stores.mongo import mongo_client
from notify_streams.stores.mongo_errors import mongo_reason, mongo_refusal

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from notify_streams.settings import Settings

#: A service that has not answered then counts as down.
_ANSWER_S: Final = 2.0
#: So that the driver's own error comes first.
_CONNECT_S: Final = 1.5


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
    checks: dict[str, Awaitable[None]] = {f"Kafka at {settings.kafka}": _check_kafka(settings, within_s)}
    for number, uri in enumerate(settings.shards):
        checks[f"MongoDB shard {number} at {without_credentials(uri)}"] = _check_mongodb(uri, settings)
    checks[f"Redis at {without_credentials(settings.redis)}"] = _check_redis(settings)
    answers = await asyncio.gather(*(fault_of(service, check, within_s) for service, check in checks.items()))
    found = dict(zip(checks, answers, strict=True))
    if settings.dynamodb is not None:
        # After the others: the first client of botocore keeps the event loop for a second on a busy machine, and they would be late.
        service = f"DynamoDB at {without_credentials(settings.dynamodb)}"
        found[service] = await fault_of(service, _check_dynamodb(settings.dynamodb), within_s)
    return found


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


async def _check_kafka(settings: Settings, within_s: float) -> None:
    await kafka.check_connection(settings.kafka_connection(), within_s)


async def _check_mongodb(uri: str, settings: Settings) -> None:
    async with mongo_client(uri, settings.mongo_security, "notify-streams-check", _CONNECT_S) as client:
        await client[settings.database].command("dbStats")


async def _check_redis(settings: Settings) -> None:
    async with redis.connect(settings) as client:
        await redis.check(client)


async def _check_dynamodb(url: str) -> None:
    async with dynamodb.client(url) as client:
        await client.list_tables(Limit=1)
