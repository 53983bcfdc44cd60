"""Finds dead letters in Kafka: by partition and time, not by reading the topic."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import msgspec

from notify_streams.admin.audit.topics import TopicReader
from notify_streams.admin.dead_letters import dead_letter_of
from notify_streams.admin.regions_asked import AWAY
from notify_streams.topics import DEAD_LETTERS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from notify_streams.admin.why.story import OtherOutcome
    from notify_streams.settings import Settings

#: How far the clocks of a worker and of a broker may differ.
_CLOCKS: Final = timedelta(seconds=10)
#: Records that are read to find one: more were appended in its partition within seconds.
_MAX_READ: Final = 20_000


async def with_places(settings: Settings, dead: Sequence[OtherOutcome], timeout_s: float) -> list[OtherOutcome]:
    """These dead letters, newest first, with the `place` of those of this region that Kafka still has and tells of in time."""
    found: dict[str, str] = {}
    wanted = {_source(one): one for one in dead if one.region == settings.region}
    try:
        async with asyncio.timeout(timeout_s), TopicReader(settings) as topics:
            for source, one in wanted.items():
                if (place := await _place(topics, source, one)) is not None:
                    found[source] = place
    except (TimeoutError, *AWAY):
        pass  # shown without
    return [
        msgspec.structs.replace(one, place=found.get(_source(one))) if one.region == settings.region else one
        for one in dead
    ]


async def _place(topics: TopicReader, source: str, one: OtherOutcome) -> str | None:
    partition, read = one.entry.partition, 0
    async for place, record in topics.read([DEAD_LETTERS], [partition], one.at - _CLOCKS):
        letter = dead_letter_of(place.partition, record)
        if letter is not None and f"{letter.why['topic']}:{letter.why['partition']}:{letter.why['offset']}" == source:
            return letter.place
        read += 1
        if read >= _MAX_READ:
            break
    return None


def _source(one: OtherOutcome) -> str:
    return f"{one.entry.topic}:{one.entry.partition}:{one.entry.offset}"
