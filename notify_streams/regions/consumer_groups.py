"""What another region's consumer groups say, from outside: whether workers run there, and how much still waits for a region.

In: a Kafka and group names. Out: a yes or no, a count. Bounded in time; a region that does not answer is `RetryLater`.
"""

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
    from collections.abc import Awaitable, Callable

    from notify_streams.kafka import KafkaConnection

T = TypeVar("T")
#: The place of a group's members in a DescribeGroups answer.
_MEMBERS: Final = 5


async def routers_run(connection: KafkaConnection, region: str, timeout_s: float = 3.0) -> bool:
    """Whether a router worker of `region` is a member of its group: without one nobody decides triggers there.

    A worker that was killed stays a member until its session ends, some seconds.

    Raises:
        RetryLater: the region's Kafka does not answer.
    """

    async def ask(admin: Any) -> bool:
        for lane in LANES:  # one by one: aiokafka 0.14 cannot read an answer about two groups
            answers = await admin.describe_consumer_groups([app_id(region, lane)])
            if any(group[_MEMBERS] for answer in answers for group in answer.groups):
                return True
        return False

    return await _asking(connection, timeout_s, ask)


async def forward_lag(connection: KafkaConnection, here: str, region: str, timeout_s: float = 5.0) -> int:
    """How many records of `forward.<region>` the region `here` has not handed over: what to see at 0 before a hand-back.

    Raises:
        RetryLater: `here`'s Kafka does not answer.
    """
    topic = forward_topic(region)

    async def ask(admin: Any) -> int:
        committed = await admin.list_consumer_group_offsets(app_id(here, "forward"))
        consumer = kafka.consumer(connection)
        await consumer.start()
        try:
            await consumer._client.force_metadata_update()
            places = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic) or ()]
            first, ends = await consumer.beginning_offsets(places), await consumer.end_offsets(places)
            done = {place: committed[place].offset for place in places if place in committed}
            return sum(max(ends[place] - max(done.get(place, 0), first[place]), 0) for place in places)
        finally:
            await consumer.stop()

    return await _asking(connection, timeout_s, ask)


async def _asking(connection: KafkaConnection, timeout_s: float, ask: Callable[[Any], Awaitable[T]]) -> T:
    admin = kafka.admin(connection, request_timeout_s=timeout_s)
    try:
        async with asyncio.timeout(timeout_s):
            await admin.start()
            while True:
                try:
                    return await ask(admin)
                except KafkaError as error:  # a coordinator that moves, or whose topic is only being made
                    if not error.retriable:
                        raise
                await asyncio.sleep(0.1)
    except (KafkaError, TimeoutError, OSError) as error:
        raise RetryLater(f"a region's consumer groups are not to be had: {type(error).__name__}") from error
    finally:
        with suppress(KafkaError, TimeoutError, OSError):
            await asyncio.wait_for(admin.close(), 2.0)
