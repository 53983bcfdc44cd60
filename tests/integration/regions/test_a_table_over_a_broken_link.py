"""Readers without a consumer group continue after their link broke and was repaired."""

from __future__ import annotations

import asyncio
from collections.abc import Sized
from functools import partial
from typing import Any

import pytest
from aiokafka.errors import KafkaError

from devtools.fakes.latency_proxy import LatencyProxy
from notify_streams.errors import RetryLater
from notify_streams.kafka import KafkaConnection
from notify_streams.regions.failover.log import KafkaControlLog
from notify_streams.topics import REGION_CONTROL
from notify_streams.transport import BatchProducer, TransportSettings
from notify_streams.transport.tables.changelog_reader import ChangelogReader
from notify_streams.transport.tables.follower import Follower
from notify_streams.transport.tables.memory_store import in_memory
from notify_streams.transport.tables.store import decode_raw
from tests.integration.paused_fetches import a_fetch_pauses
from tests.integration.regions.remote_topics import an_id, make_topics
from tests.waiting import until

#: Long, because the machine may be busy. A link that is cut refuses at once.
TIMEOUT_S = 30.0
PATIENT = TransportSettings(request_timeout_s=TIMEOUT_S)
#: A table that asked for offsets when the link was cut notices it after this time. It repeats what takes longer.
QUICK = TransportSettings(request_timeout_s=1.0)


async def a_topic(link: LatencyProxy) -> str:
    name = f"table-{an_id()}"
    await make_topics(link.address, name)
    return name


async def write(link: LatencyProxy, topic: str, key: bytes) -> None:
    producer = BatchProducer(KafkaConnection(link.address), TransportSettings(compression=None))
    await producer.start()
    await producer.send_batch(topic, 0, [(key, b"x", ())])
    await producer.stop()


def _at_least(items: Sized, count: int) -> bool:
    return len(items) >= count


def _holds(store: Any, key: bytes) -> bool:
    return store.get(0, key) is not None


async def test_stopping_while_a_fetch_pauses_after_a_failure_raises_nothing(link: LatencyProxy) -> None:
    reader = ChangelogReader(KafkaConnection(link.address), await a_topic(link), PATIENT)
    await reader.start()
    reader.read_from({0: 0})
    await reader.fetch(0.3)
    await link.cut()
    await until(lambda: a_fetch_pauses(reader._consumer))
    await reader.stop()
    assert all(not conn.connected() for conn in reader._consumer._client._conns.values())


async def test_a_control_log_raises_retry_later_while_its_region_is_away_then_reconnects(link: LatencyProxy) -> None:
    await make_topics(link.address, REGION_CONTROL)
    control = KafkaControlLog("eu", KafkaConnection(link.address), TIMEOUT_S)
    await control.read()
    await link.cut()
    await until(lambda: a_fetch_pauses(control._consumer))
    await control.close()
    with pytest.raises(RetryLater):
        await control.read()
    await link.start()
    await control.read()
    await control.close()


async def test_a_client_that_stopped_fetching_raises(link: LatencyProxy) -> None:
    reader = ChangelogReader(KafkaConnection(link.address), await a_topic(link), PATIENT)
    await reader.start()
    reader.read_from({0: 0})
    reader._consumer._fetcher._fetch_task.cancel()
    with pytest.raises(KafkaError):
        await asyncio.wait_for(reader.fetch(2 * TIMEOUT_S), TIMEOUT_S)
    await reader.stop()


async def test_a_table_continues_when_its_link_is_repaired(link: LatencyProxy) -> None:
    topic = await a_topic(link)
    store = in_memory(decode_raw)
    begun: list[ChangelogReader] = []

    def begin() -> ChangelogReader:
        begun.append(ChangelogReader(KafkaConnection(link.address), topic, QUICK))
        return begun[-1]

    async def crash(reason: BaseException) -> None:
        raise AssertionError from reason

    follower = Follower(topic, store, begin, crash)
    follower.start()
    await asyncio.wait_for(follower.catch_up(frozenset({0})), TIMEOUT_S)
    for key in (b"first", b"second"):
        await link.cut()
        catching_up = asyncio.ensure_future(follower.catch_up(frozenset({0, 1})))
        before = len(begun)
        await until(partial(_at_least, begun, before + 2), "reading fails and starts again")
        assert not catching_up.done()
        await link.start()
        await write(link, topic, key)
        await asyncio.wait_for(catching_up, TIMEOUT_S)
        await until(partial(_holds, store, key))
    await follower.stop()
