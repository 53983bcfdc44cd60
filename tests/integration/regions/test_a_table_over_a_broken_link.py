"""What is read without a group goes on after its link broke: the client's own way to stop must not end whoever follows."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest
from aiokafka.errors import KafkaError
from far_topics import an_id, make_topics

from notify_streams.regions.slow_link import SlowLink
from notify_streams.transport import BatchProducer, TransportSettings
from notify_streams.transport.tables.changelog_reader import ChangelogReader
from notify_streams.transport.tables.follower import Follower
from notify_streams.transport.tables.memory_store import in_memory
from notify_streams.transport.tables.store import decode_nothing, encode_nothing

SETTINGS = TransportSettings(request_timeout_s=1.0)


async def a_topic(link: SlowLink) -> str:
    name = f"table-{an_id()}"
    await make_topics(link.address, name)
    return name


async def write(link: SlowLink, topic: str, key: bytes) -> None:
    producer = BatchProducer(link.address, TransportSettings(compression=None))
    await producer.start()
    await producer.send_batch(topic, 0, [(key, b"x", ())])
    await producer.stop()


async def failing(reader: ChangelogReader) -> None:
    """Until its client pauses after a fetch that failed."""
    fetcher = reader._consumer._fetcher
    async with asyncio.timeout(10):
        while not any(map(_pauses, fetcher._pending_tasks)):
            await asyncio.sleep(0.005)


def _pauses(task: asyncio.Task[object]) -> bool:
    waits_in = task.get_coro().cr_await  # type: ignore[union-attr]
    return getattr(waits_in, "__name__", "") == "sleep"


async def test_stopping_while_a_fetch_pauses_after_a_failure_raises_nothing(link: SlowLink) -> None:
    reader = ChangelogReader(link.address, await a_topic(link), SETTINGS, {})
    await reader.start()
    reader.read_from({0: 0})
    await reader.fetch(0.3)
    await link.cut()
    await failing(reader)
    await reader.stop()
    assert all(not conn.connected() for conn in reader._consumer._client._conns.values())


async def test_a_client_that_fetches_no_more_is_an_error_not_silence(link: SlowLink) -> None:
    reader = ChangelogReader(link.address, await a_topic(link), SETTINGS, {})
    await reader.start()
    reader.read_from({0: 0})
    reader._consumer._fetcher._fetch_task.cancel()
    with pytest.raises(KafkaError):
        await asyncio.wait_for(reader.fetch(20.0), 10.0)
    await reader.stop()


async def test_a_table_goes_on_when_its_link_is_mended(link: SlowLink) -> None:
    topic = await a_topic(link)
    store = in_memory(decode_nothing, encode_nothing, True)
    follower = Follower(topic, store, partial(ChangelogReader, link.address, topic, SETTINGS, {}))
    follower.start()
    await asyncio.wait_for(follower.caught_up(frozenset({0})), 10)
    for key in (b"first", b"second"):
        await link.cut()
        asked = asyncio.ensure_future(follower.caught_up(frozenset({0, 1})))
        await asyncio.sleep(1.5)  # more than a request may take: the reading fails, and begins anew more than once
        assert not asked.done()
        await link.start()
        await write(link, topic, key)
        await asyncio.wait_for(asked, 15)
        async with asyncio.timeout(10):
            while store.get(0, key) is None:
                await asyncio.sleep(0.02)
    await follower.stop()
