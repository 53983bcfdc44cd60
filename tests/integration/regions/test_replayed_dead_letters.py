"""Dead letters are sent again with their contents, of which few are in memory, and with their keys."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiokafka import AIOKafkaProducer

from devtools.fakes.latency_proxy import LatencyProxy
from notify_streams.admin.audit.topics import TopicReader
from notify_streams.admin.dead_letters import (
    Selection,
    newest_dead_letters,
    read_dead_letters,
    replay_dead_letters,
)
from notify_streams.errors import Refused
from notify_streams.records.partitioner import bucket_of
from notify_streams.settings import Settings
from notify_streams.topics import DEAD_LETTERS, USER_CONTACTS
from tests.builders import PARTITIONS, some_settings, trigger_json
from tests.integration.regions.remote_topics import make_topics

TRIGGERS = "triggers.payments"
COUNT = 20


def why(topic: str, offset: int, detail: str = "") -> list[tuple[str, bytes]]:
    texts = {"reason": "invalid", "detail": detail, "topic": topic, "partition": "0", "offset": str(offset)}
    return [(name, text.encode()) for name, text in texts.items()]


@pytest.fixture
async def settings(link: LatencyProxy) -> AsyncIterator[Settings]:
    await make_topics(link.address, DEAD_LETTERS, TRIGGERS, USER_CONTACTS, partitions=PARTITIONS)
    yield some_settings(kafka=link.address, trigger_systems=["payments"])


async def test_dead_letters_are_listed_without_and_sent_again_with_their_contents(settings: Settings) -> None:
    async with AIOKafkaProducer(bootstrap_servers=settings.kafka) as producer:
        for number in range(COUNT):
            value = trigger_json(id=f"t-{number}", user_id="u-1")
            await producer.send_and_wait(
                DEAD_LETTERS, value, partition=0, headers=[("a", b"b"), *why(TRIGGERS, number)]
            )
        removal = {"key": b"u-2", "partition": 1, "headers": why(USER_CONTACTS, 7)}
        await producer.send_and_wait(DEAD_LETTERS, None, **removal)
        await producer.send_and_wait(
            DEAD_LETTERS, b"x", partition=2, headers=why(TRIGGERS, 9, "; cut to its first 1 bytes")
        )

    count, shown = await newest_dead_letters(settings, Selection(topic=TRIGGERS), 3)
    assert count == COUNT + 1 and [one.at for one in shown] == sorted(one.at for one in shown)
    assert [one.why["offset"] for one in shown] == ["18", "19", "9"]
    assert {(one.key, one.value, one.headers) for one in shown} == {(None, None, ())}

    found = [one.without_contents() async for one in read_dead_letters(settings, Selection())]
    with pytest.raises(Refused, match="has only a part of its record"):
        await replay_dead_letters(settings, found)
    whole = [one for one in found if not one.is_cut]
    assert await replay_dead_letters(settings, whole) == COUNT + 1
    async with TopicReader(settings) as topics:
        sent = [(place, record) async for place, record in topics.read([TRIGGERS, USER_CONTACTS])]
    triggers = [record for place, record in sent if place.topic == TRIGGERS]
    assert [one.value for one in triggers] == [trigger_json(id=f"t-{one}", user_id="u-1") for one in range(COUNT)]
    assert list(triggers[0].headers) == [("a", b"b"), ("replayed", b"0:0")]
    ((place, contacts),) = [one for one in sent if one[0].topic == USER_CONTACTS]
    assert (contacts.key, contacts.value, place.partition) == (b"u-2", None, bucket_of("u-2", PARTITIONS))
