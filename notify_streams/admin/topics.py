"""Creates and checks the topics of `notify_streams.topics` in a region's Kafka."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaConnectionError, KafkaError, TopicAuthorizationFailedError, for_code

from notify_streams import kafka
from notify_streams.admin.topic_acls import role_topics
from notify_streams.errors import NotifyError, Refused, StoreUnavailable
from notify_streams.topics import TopicSpec, all_topics

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping, Sequence

    from notify_streams.settings import Settings

_EXISTS: Final = 36
_CONNECT_S: Final = 5.0
#: The source of a key that was set for the topic itself (DescribeConfigs, version 1).
_OF_THE_TOPIC: Final = 1
#: New partitions are known to all brokers by then.
_CREATED_S: Final = 30.0
#: Partitions that the slowest broker makes in a second: one on a laptop.
_CREATED_A_SECOND: Final = 100
_CREATED_AGAIN_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class TopicDifferences:
    """How a region's topics differ from its settings, one sentence each."""

    #: No worker can start: a topic is missing, or has another number of partitions.
    blocking: tuple[str, ...]
    #: Workers run with them: another retention, another limit of a record.
    tolerable: tuple[str, ...]


async def check_topics(settings: Settings, role: str | None = None) -> TopicDifferences:
    """What is wrong with the region's topics; with `role`, with those that it reads and writes, which its principal may describe.

    Raises:
        StoreUnavailable: Kafka does not answer.
        KafkaError: this user must not see all topics.
    """
    admin = await _admin(settings)
    try:
        partitions = {topic["topic"]: len(topic["partitions"]) for topic in await admin.describe_topics()}
        used = None if role is None else role_topics(settings, role)
        wanted = [spec for spec in all_topics(settings) if used is None or spec.name in used]
        await _require_visible(admin, wanted, partitions)
        configs = await _configs(admin, [spec.name for spec in wanted if spec.name in partitions])
    finally:
        await admin.close()
    return differences(wanted, partitions, configs)


def differences(
    wanted: Iterable[TopicSpec], partitions: Mapping[str, int], configs: Mapping[str, Mapping[str, str]]
) -> TopicDifferences:
    """Compare the topics that must exist with those that do, by name: the number of partitions, and the configuration."""
    blocking, tolerable, unread = [], [], []
    for spec in wanted:
        count = partitions.get(spec.name)
        if count is None:
            blocking.append(f"{spec.name} is missing: run `notify-streams topics ensure`")
            continue
        if count != spec.partitions:
            blocking.append(
                f"{spec.name} has {count} partitions, the settings say {spec.partitions}: "
                "all topics must have as many partitions as there are buckets"
            )
        if spec.name not in configs:
            unread.append(spec.name)
            continue
        for name, value in spec.config.items():
            if (actual := configs[spec.name].get(name)) != value:
                tolerable.append(f"{spec.name}: {name} is {actual}, should be {value}")
    if unread:
        tolerable.append(
            f"the configuration of {len(unread)} topics cannot be read ({unread[0]}, …): it takes the right DescribeConfigs"
        )
    return TopicDifferences(tuple(blocking), tuple(tolerable))


async def ensure_topics(settings: Settings) -> list[str]:
    """Create missing topics and return their names. Existing topics stay as they are (see `check_topics`).

    Raises:
        StoreUnavailable: Kafka does not answer.
        NotifyError: Kafka refused a topic.
        KafkaError: this user must not see all topics, or not create one.
    """
    admin = await _admin(settings)
    try:
        existing = set(await admin.list_topics())
        await _require_visible(admin, all_topics(settings), existing)
        missing = [spec for spec in all_topics(settings) if spec.name not in existing]
        if not missing:
            return []
        answer = await admin.create_topics([_new(spec, settings.replication) for spec in missing])
        for name, code, *reason in answer.topic_errors:
            if code == TopicAuthorizationFailedError.errno:
                raise TopicAuthorizationFailedError(name)
            if code not in (0, _EXISTS):
                raise NotifyError(
                    f"Kafka refused topic {name}: {for_code(code).__name__} {reason[0] if reason else ''}"
                )
        return [spec.name for spec in missing]
    finally:
        await admin.close()


async def apply_topic_settings(settings: Settings) -> list[str]:
    """Give existing topics the configuration of the settings, and say what was changed, a line each. What else an operator has set stays.

    Raises:
        StoreUnavailable: Kafka does not answer.
        NotifyError: Kafka refused a change.
    """
    wanted = {spec.name: spec.config for spec in all_topics(settings)}
    admin = await _admin(settings)
    try:
        existing = [name for name in await admin.list_topics() if name in wanted]
        described = await _described(admin, existing)
        changes = {name: changed_config(wanted[name], entries) for name, entries in described.items()}
        resources = [
            ConfigResource(ConfigResourceType.TOPIC, name, config) for name, config in changes.items() if config
        ]
        for answer in await admin.alter_configs(resources) if resources else ():
            for code, reason, _, name in answer.resources:
                if code:
                    raise NotifyError(f"Kafka refused to configure {name}: {for_code(code).__name__} {reason or ''}")
    finally:
        await admin.close()
    return [
        f"{name}: {key} {before} -> {wanted[name][key]}"
        for name, entries in sorted(described.items())
        if changes[name]
        for key, before, *_ in entries
        if wanted[name].get(key, before) != before
    ]


def changed_config(wanted: Mapping[str, str], entries: Iterable[Sequence[Any]]) -> dict[str, str]:
    """The whole configuration that a topic needs, because Kafka replaces all of it; empty if it has what is wanted.

    `entries`: name, value, whether it is read-only, and its source, of each key.
    """
    found = {name: (value, source) for name, value, _, source, *_ in entries}
    if all(found.get(name, ("", 0))[0] == value for name, value in wanted.items()):
        return {}
    return {name: value for name, (value, source) in found.items() if source == _OF_THE_TOPIC} | dict(wanted)


async def require_topics(settings: Settings) -> None:
    """Check that all topics exist, which takes one request. A client that writes to a missing topic would wait a minute for it.

    Raises:
        StoreUnavailable: Kafka does not answer.
        Refused: topics are missing.
        KafkaError: this user must not see all topics.
    """
    admin = await _admin(settings)
    try:
        existing = set(await admin.list_topics())
        await _require_visible(admin, all_topics(settings), existing)
    finally:
        await admin.close()
    if missing := sorted(spec.name for spec in all_topics(settings) if spec.name not in existing):
        raise Refused(
            f"{len(missing)} topics are missing in Kafka of region {settings.region} ({missing[0]}, …): "
            f"run `notify-streams topics ensure --region {settings.region}`"
        )


async def _require_visible(admin: AIOKafkaAdminClient, specs: Sequence[TopicSpec], seen: Container[str]) -> None:
    if unseen := [spec.name for spec in specs if spec.name not in seen]:
        await kafka.require_visible(admin, unseen)


async def partition_counts(settings: Settings) -> dict[str, int | None]:
    """How many partitions each topic of the region has; None: it is missing.

    Raises:
        StoreUnavailable: Kafka does not answer.
    """
    admin = await _admin(settings)
    try:
        found = {topic["topic"]: len(topic["partitions"]) for topic in await admin.describe_topics()}
    finally:
        await admin.close()
    return {spec.name: found.get(spec.name) for spec in all_topics(settings)}


async def add_partitions(settings: Settings) -> None:
    """Give every topic the partitions that the settings say, and wait until brokers name them. Topics that have them stay as they are.

    Raises:
        StoreUnavailable: Kafka does not answer.
        NotifyError: Kafka refused a topic.
    """
    counts = await partition_counts(settings)
    wanted = {spec.name: spec.partitions for spec in all_topics(settings)}
    admin = await _admin(settings)
    try:
        for name, partitions in wanted.items():
            if (counts[name] or 0) < partitions:
                await admin.create_partitions({name: NewPartitions(partitions)})
    except KafkaError as error:
        raise NotifyError(f"Kafka refused more partitions: {error}") from error
    finally:
        await admin.close()
    deadline = time.monotonic() + _CREATED_S + sum(wanted.values()) / _CREATED_A_SECOND
    while late := [name for name, count in (await partition_counts(settings)).items() if count != wanted[name]]:
        if time.monotonic() > deadline:
            raise StoreUnavailable(
                f"Kafka has accepted more partitions for {late[0]}, but does not show them yet; run the command again"
            )
        await asyncio.sleep(_CREATED_AGAIN_S)


def _new(spec: TopicSpec, replication: int) -> NewTopic:
    config = dict(spec.config) | ({"min.insync.replicas": "2"} if replication > 2 else {})
    return NewTopic(spec.name, spec.partitions, replication, topic_configs=config)


async def _admin(settings: Settings) -> AIOKafkaAdminClient:
    admin = kafka.admin(settings.kafka_connection(), request_timeout_s=settings.broker.request_timeout_s)
    try:
        async with asyncio.timeout(_CONNECT_S):
            await admin.start()
    except (KafkaConnectionError, TimeoutError) as error:
        await admin.close()
        reason = error.args[0] if error.args else f"Kafka at {settings.kafka} does not respond in time"
        raise StoreUnavailable(f"region {settings.region}: {reason}") from error
    return admin


async def _configs(admin: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, Mapping[str, str]]:
    """Topic → configuration; without those that this principal may not read."""
    described = await _described(admin, names)
    return {name: {entry[0]: entry[1] for entry in entries} for name, entries in described.items()}


async def _described(admin: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, Sequence[Sequence[Any]]]:
    """Topic → see `changed_config`; without those that this principal may not read."""
    if not names:
        return {}
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    answers = await admin.describe_configs(resources)
    return {one[3]: one[4] for answer in answers for one in answer.resources if one[0] == 0}
