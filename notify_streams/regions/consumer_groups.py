"""Reads a region's consumer groups: running routers, waiting records."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from notify_streams import kafka
from notify_streams.errors import RetryLater
from notify_streams.roles import LANES, app_id
from notify_streams.topics import forward_topic

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from notify_streams.kafka import KafkaConnection

T = TypeVar("T")
#: The index of a group's members in a DescribeGroups response.
_MEMBERS: Final = 5


def group_lag(
    firsts: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int], committed: Mapping[TopicPartition, int]
) -> int:
    """How many records of these partitions a group has not processed.

    Args:
        firsts, ends: the first and the next offset of each partition.
        committed: of the group; without one, or before the first record, the group begins at that one.
    """
    return sum(max(end - max(committed.get(one, 0), firsts[one]), 0) for one, end in ends.items())


async def routers_run(connection: KafkaConnection, region: str, timeout_s: float = 3.0) -> bool:
    """Whether `region` has router workers (see `running_roles`)."""
    return bool(await running_roles(connection, region, LANES, timeout_s))


async def running_roles(
    connection: KafkaConnection, region: str, roles: Sequence[str], timeout_s: float = 3.0
) -> list[str]:
    """Those of `roles` that have workers: members of their consumer groups.

    A worker that was killed stays a member for some seconds, until its session ends.

    Raises:
        RetryLater: the region's Kafka does not answer.
    """

    async def query(admin: Any) -> list[str]:
        running = []
        for role in roles:  # one by one: aiokafka 0.14 cannot decode a response about two groups
            responses = await admin.describe_consumer_groups([app_id(region, role)])
            if any(group[_MEMBERS] for response in responses for group in response.groups):
                running.append(role)
        return running

    return await _query(connection, timeout_s, query)


async def committed_offsets(
    connection: KafkaConnection, region: str, role: str, timeout_s: float = 5.0
) -> dict[TopicPartition, int]:
    """What the group of a role has committed; empty if it never ran in this Kafka.

    Raises:
        RetryLater: the region's Kafka does not answer.
    """

    return (await committed_by_role(connection, region, [role], timeout_s))[role]


async def committed_by_role(
    connection: KafkaConnection, region: str, roles: Sequence[str], timeout_s: float
) -> dict[str, dict[TopicPartition, int]]:
    """`committed_offsets` of each of `roles`, over one connection. Raises as that."""

    async def query(admin: Any) -> dict[str, dict[TopicPartition, int]]:
        groups = {role: await admin.list_consumer_group_offsets(app_id(region, role)) for role in roles}
        return {
            role: {place: found.offset for place, found in committed.items() if found.offset >= 0}
            for role, committed in groups.items()
        }

    return await _query(connection, timeout_s, query)


async def forward_lag(
    connection: KafkaConnection,
    here: str,
    region: str,
    timeout_s: float = 5.0,
    committed: Mapping[TopicPartition, int] | None = None,
) -> int:
    """How many records of `forward.<region>` the region `here` has not forwarded yet; 0 before users are handed back.

    With `committed`, what the group had committed earlier (`committed_offsets`): how many it had not forwarded then, or were written since.

    Raises:
        RetryLater: `here`'s Kafka does not answer.
    """
    topic = forward_topic(region)

    async def query(admin: Any) -> int:
        found = {} if committed is not None else await admin.list_consumer_group_offsets(app_id(here, "forward"))
        positions = {place: one.offset for place, one in found.items()} if committed is None else committed
        consumer = kafka.consumer(connection)
        await consumer.start()
        try:
            await consumer._client.force_metadata_update()
            partitions = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic) or ()]
            first, ends = await consumer.beginning_offsets(partitions), await consumer.end_offsets(partitions)
            return group_lag(first, ends, positions)
        finally:
            await consumer.stop()

    return await _query(connection, timeout_s, query)


async def _query(connection: KafkaConnection, timeout_s: float, query: Callable[[Any], Awaitable[T]]) -> T:
    admin = kafka.admin(connection, request_timeout_s=timeout_s)
    try:
        async with asyncio.timeout(timeout_s):
            await admin.start()
            while True:
                try:
                    return await query(admin)
                except KafkaError as error:  # e.g. a group coordinator that moves or is being created
                    if not error.retriable:
                        raise
                await asyncio.sleep(0.1)
    except (KafkaError, TimeoutError, OSError) as error:
        raise RetryLater(f"a region's consumer groups cannot be read: {type(error).__name__}") from error
    finally:
        with suppress(KafkaError, TimeoutError, OSError):
            await asyncio.wait_for(admin.close(), 2.0)
