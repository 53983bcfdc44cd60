"""Brings a batch of locations to one point of presence. In: records of `edge.<name>`; out: they are there, or `RetryLater`.

Order: of one person's records in a batch the newest is pushed; batches of a partition must be pushed one after the other, which is
what a topic's partition gives. A move is purged first, then written: a client finds the new home or nothing, never the old one.
A crash pushes the batch again, which changes nothing.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

import aiohttp
import msgspec

from notify_streams.edge.cloudflare import Cloudflare
from notify_streams.edge.point_of_presence import Home, NotPushed
from notify_streams.edge.single_key_stores import fastly, http_point
from notify_streams.errors import SettingsError
from notify_streams.records.user_records import LocationRecord
from notify_streams.regions.locations import decode_location_record
from notify_streams.retry import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from notify_streams.edge.point_of_presence import PointOfPresence
    from notify_streams.settings import EdgePopSettings

T = TypeVar("T")
#: Tries of one call of `push`; the caller decides about the next.
RETRIES: Final = RetryPolicy("edge.push", first_s=0.1, max_s=5.0, max_attempts=5)


class EdgeRecord(Protocol):
    """A record of `edge.<name>`: the person's id, and where they are at home, None if they are gone."""

    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...


class State(msgspec.Struct):
    """What operators see of a point of presence."""

    pushed: int = 0
    purged: int = 0
    #: Persons whose key the store refuses; the origin answers for them.
    refused: int = 0
    failures: int = 0
    last_error: str | None = None
    #: Unix time since when nothing gets through, None while it works.
    failing_since: float | None = None


class EdgePusher:
    """The way to one point of presence."""

    def __init__(self, point: PointOfPresence, retries: RetryPolicy = RETRIES) -> None:
        self._point = point
        self._retries = retries
        self.state = State()

    @property
    def name(self) -> str:
        return self._point.name

    async def push(self, records: Iterable[EdgeRecord]) -> None:
        """Bring the records' newest state there.

        Raises:
            RetryLater: it is not there after some tries. Push the same records again, later; nothing is out of order.
        """
        found = newest(records)
        purged = [user_id for user_id, home in found.items() if home is None or home.previous is not None]
        homes = [Home(home.user_id, home.region, home.version) for home in found.values() if home is not None]
        if purged:
            await self._until_done(self._point.delete_many, purged)
            self.state.purged += len(purged)
        if homes:
            self.state.refused += await self._until_done(self._point.put_many, homes) or 0
            self.state.pushed += len(homes)

    async def _until_done(self, act: Callable[[Sequence[T]], Awaitable[int | None]], wanted: Sequence[T]) -> int | None:
        attempts = self._retries.attempts()
        while True:
            try:
                done = await act(wanted)
            except NotPushed as error:
                self._failed(error)
                wanted = error.left  # type: ignore[assignment]
                await attempts.failed(error)
            else:
                self.state.failing_since = None
                return done

    def _failed(self, error: NotPushed) -> None:
        self.state.failures += 1
        self.state.last_error = str(error)
        if self.state.failing_since is None:
            self.state.failing_since = time.time()


def newest(records: Iterable[EdgeRecord]) -> dict[str, LocationRecord | None]:
    """Each person's last word in `records`; None: the person is gone. What is no location is left out."""
    found: dict[str, LocationRecord | None] = {}
    for record in records:
        if record.key is None:
            continue
        try:
            user_id = record.key.decode()
            home = None if record.value is None else decode_location_record(record.value)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            continue
        before = found.get(user_id)
        if home is None or before is None or home.version >= before.version:
            found[user_id] = home
    return found


def point_of_presence(pop: EdgePopSettings, session: aiohttp.ClientSession) -> PointOfPresence:
    """The adapter that the settings name.

    Raises:
        SettingsError: an unknown kind.
    """
    if pop.kind == "http":
        return http_point(pop.name, pop.url, pop.token, session)
    if pop.kind == "fastly":
        return fastly(pop.name, pop.url, pop.token, session)
    if pop.kind == "cloudflare":
        return Cloudflare(pop.name, pop.url, pop.token, session)
    raise SettingsError(f"edge: {pop.name}: kind {pop.kind!r} is none of http, cloudflare, fastly")


def open_session(at_once: int = 32) -> aiohttp.ClientSession:
    """One session serves every point of presence; close it with the worker. Each call sets its own timeout."""
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit_per_host=at_once, ttl_dns_cache=60))
