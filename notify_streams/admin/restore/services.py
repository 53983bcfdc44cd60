"""Steps beside the books: Redis, consumer groups, choices, locations.

Each may be repeated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from notify_streams import kafka
from notify_streams.admin.audit.topics import TopicReader
from notify_streams.errors import StoreUnavailable
from notify_streams.outbox.direct_publish import publish_directly
from notify_streams.records.partitioner import bucket_of
from notify_streams.registry.signups import location_outputs
from notify_streams.registry.users_table import UsersTable
from notify_streams.roles import LANES, app_id
from notify_streams.stores.redis import redis_call
from notify_streams.topics import (
    PREFERENCE_UPDATES,
    RECEIPTS,
    USER_CONTACTS,
    USER_ERASURES,
    USER_LOCATIONS,
    USER_SIGNUPS,
    edge_topic,
    trigger_topics,
)
from notify_streams.transport.client_shutdown import stop_consumer

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from notify_streams.admin.restore.situation import Situation
    from notify_streams.preferences.service import PreferenceService
    from notify_streams.records.batch import OutboxRecord, Producer
    from notify_streams.settings import Settings
    from notify_streams.stores.mongo import Document

#: Topics whose position is that of a consumer group, by role. What they hold may be applied again: the newest record wins.
_WITHOUT_LEDGER: Final = {"registry": (PREFERENCE_UPDATES, USER_CONTACTS, USER_ERASURES), "receipts": (RECEIPTS,)}
_AT_ONCE: Final = 1_000
_STOP_S: Final = 5.0


async def forget_deltas(preferences: PreferenceService) -> Document:
    """Remove deltas that are newer than the restored records. The lease goes first: without it, what is left is not trusted."""
    removed = 0
    with redis_call(preferences.redis):
        await preferences.redis.delete(*preferences.lease_renewal.keys)
        keys = []
        async for key in preferences.redis.scan_iter(match=preferences.deltas.keys, count=_AT_ONCE):
            keys.append(key)
            if len(keys) == _AT_ONCE:
                removed += await preferences.redis.unlink(*keys)
                keys = []
        if keys:
            removed += await preferences.redis.unlink(*keys)
    return {"deltas": removed}


async def rewind_groups(settings: Settings, topics: TopicReader, situation: Situation) -> Document:
    """Let the groups of a kept Kafka read again what the restored database may not have: choices, contacts, erasures, receipts.

    Topics with ledgers that the backup does not have are read from their first record: nothing of them was booked then.
    """
    if situation.is_new:
        return {}
    rewound: dict[str, int] = {}
    for role, names in _WITHOUT_LEDGER.items():
        rewound[role] = await _rewind(settings, role, await topics.offsets_at(names, situation.reread_from()))
    for role in (*LANES, "registry"):
        wanted = trigger_topics(settings) if role in LANES else (USER_SIGNUPS,)
        firsts = {
            place: extent.first
            for place, extent in situation.extents.items()
            if place[0] in wanted and (role, *place) not in situation.ledgers
        }
        rewound[role] = rewound.get(role, 0) + await _rewind(settings, role, firsts)
    return {role: count for role, count in rewound.items() if count}


async def _rewind(settings: Settings, role: str, offsets: Mapping[tuple[str, int], int]) -> int:
    """Move what a group has committed back to these offsets; never forward. Returns by how many records."""
    if not offsets:
        return 0
    consumer = kafka.consumer(settings.kafka_connection(), group=app_id(settings.region, role))
    places = [TopicPartition(*place) for place in offsets]
    back: dict[TopicPartition, int] = {}
    count = 0
    try:
        await consumer.start()
        consumer.assign(places)
        for place in places:
            committed, wanted = await consumer.committed(place), offsets[place.topic, place.partition]
            if committed is not None and committed > wanted:
                back[place] = wanted
                count += committed - wanted
        if back:
            await consumer.commit(back)
    except (KafkaError, OSError) as error:
        raise StoreUnavailable(f"the consumer group of {role} cannot be moved back: {type(error).__name__}") from error
    finally:
        await stop_consumer(consumer, _STOP_S)
    return count


async def choices_of_other_regions(
    settings: Settings, situation: Situation, producer: Producer, without: Collection[str]
) -> Document:
    """Copy choices that were made after the backup from the topics of other regions, which have those of all regions."""
    copied: dict[str, int] = {}
    if not situation.is_new:
        return copied
    for region in settings.remote_kafka.keys() - set(without):
        async with TopicReader(settings, region) as topics:
            outputs: list[OutboxRecord] = []
            async for place, record in topics.read([PREFERENCE_UPDATES], since=situation.reread_from()):
                if record.value is not None:
                    outputs.append(
                        (PREFERENCE_UPDATES, place.partition, record.key, record.value, tuple(record.headers))
                    )
                    copied[region] = copied.get(region, 0) + 1
                if len(outputs) == _AT_ONCE:
                    await publish_directly(producer, outputs)
                    outputs = []
            await publish_directly(producer, outputs)
    return copied


async def publish_locations(settings: Settings, situation: Situation, producer: Producer) -> Document:
    """Publish every location of the registry in a new Kafka: a router that knows none would hold every trigger as one of an unknown user."""
    count = 0
    if situation.is_new:
        registry = UsersTable(settings)
        await registry.start()
        here = {USER_LOCATIONS, *(edge_topic(pop.name) for pop in settings.edge)}
        try:
            async for page in registry.scan():
                outputs = [
                    output
                    for user in page
                    for output in location_outputs(user, bucket_of(user.user_id, settings.partitions), settings)
                    if output[0] in here
                ]
                await publish_directly(producer, outputs)
                count += len(page)
        finally:
            await registry.close()
    return {"locations": count}
