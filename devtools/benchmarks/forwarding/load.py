"""Triggers for another region, as forwarded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from devtools.benchmarks.forwarding.environment import FAR, HERE
from devtools.benchmarks.router.load import trigger
from notify_streams.regions.forwarding.headers import forwarded_headers
from notify_streams.topics import FORWARDED, forward_topic

if TYPE_CHECKING:
    from collections.abc import Iterator

    from notify_streams.admin.trigger_producer import Upload

USERS: Final = 2_000
SOURCE: Final = forward_topic(FAR)
TARGET: Final = FORWARDED


def user_of(number: int, region: str) -> str:
    """The id of a user whose home region is `region`."""
    return f"{region}-{number % USERS:06d}"


def forwarded_triggers(count: int, run: str) -> Iterator[Upload]:
    """Records on `forward.eu`, with the headers that the router adds."""
    headers = forwarded_headers((("source", b"triggers.payments:0:0"),), HERE, FORWARDED, location_version=1)
    for number in range(count):
        user_id = user_of(number * 7919, FAR)
        yield SOURCE, user_id, trigger(f"{run}-{number:08x}", user_id, True, ["push"]), headers
