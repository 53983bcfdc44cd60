"""Pushes batches of `edge.<name>` to one point of presence.

Of one user's records in a batch only the newest is pushed. Batches of a partition must be pushed one after the other. A move is
deleted first, then written: a client finds the new home region or nothing, never the old one. The previous home only deletes, behind
what it pushed before; the new home writes. Whatever comes last, no old home stays. A batch may be pushed twice.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import msgspec

from notify_streams.edge.cloudflare import Cloudflare
from notify_streams.edge.point_of_presence import NotPushed
from notify_streams.edge.single_key_stores import fastly_store, http_store
from notify_streams.errors import SettingsError
from notify_streams.field_errors import DECODE_ERRORS
from notify_streams.records.user_records import LocationRecord, decode_location_record
from notify_streams.retry import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from notify_streams.edge.point_of_presence import PointOfPresence
    from notify_streams.records.batch import SourceRecord
    from notify_streams.settings import EdgePopSettings

#: Retries of one call of `push`; after the last one the caller decides.
_RETRY: Final = RetryPolicy("edge.push", first_s=0.1, max_s=5.0, max_attempts=5)


class PushState(msgspec.Struct):
    """What operators see of a point of presence."""

    pushed: int = 0
    purged: int = 0
    #: Users whose key the store refuses; clients get their region from the origin.
    refused: int = 0
    failures: int = 0
    last_error: str | None = None
    #: Unix time of the first failure since the last success; None while pushes succeed.
    failing_since: float | None = None


class EdgePusher:
    """Pushes to one point of presence."""

    def __init__(self, point: PointOfPresence, region: str, retry: RetryPolicy = _RETRY) -> None:
        """`region`: this worker's, which deletes the location of a user who moves away and leaves the new one to the new home."""
        self._point = point
        self._region = region
        self._retry = retry
        self.state = PushState()

    async def push(self, records: Iterable[SourceRecord]) -> None:
        """Write the newest state of the records' users.

        Raises:
            RetryLater: it could not be written. Push the same records again; the order stays right.
        """
        latest = latest_locations(records)
        purged = [user_id for user_id, location in latest.items() if location is None or location.previous is not None]
        locations = [
            location for location in latest.values() if location is not None and location.previous != self._region
        ]
        if purged:
            await self._retried(self._point.delete_many, purged)
            self.state.purged += len(purged)
        if locations:
            self.state.refused += await self._retried(self._point.put_many, locations)
            self.state.pushed += len(locations)

    async def _retried(self, call: Callable[[Sequence[Any]], Awaitable[Any]], items: Sequence[Any]) -> Any:
        """The result of `call(items)`; each retry passes only the items that are left."""
        attempts = self._retry.attempts()
        while True:
            try:
                result = await call(items)
            except NotPushed as error:
                self._count_failure(error)
                items = error.left
                await attempts.failed(error)
            else:
                attempts.succeeded()
                self.state.failing_since = None
                return result

    def _count_failure(self, error: NotPushed) -> None:
        self.state.failures += 1
        self.state.last_error = str(error)
        if self.state.failing_since is None:
            self.state.failing_since = time.time()


def latest_locations(records: Iterable[SourceRecord]) -> dict[str, LocationRecord | None]:
    """The newest location of each user in `records`; None: the user was deleted. Invalid records are ignored."""
    latest: dict[str, LocationRecord | None] = {}
    for record in records:
        if record.key is None:
            continue
        try:
            user_id = record.key.decode()
            location = None if record.value is None else decode_location_record(record.value)
        except DECODE_ERRORS:
            continue
        before = latest.get(user_id)
        if location is None or before is None or location.version >= before.version:
            latest[user_id] = location
    return latest


def make_point_of_presence(pop: EdgePopSettings, session: aiohttp.ClientSession) -> PointOfPresence:
    """The adapter for the kind that the settings name.

    Raises:
        SettingsError: an unknown kind.
    """
    if pop.kind == "http":
        return http_store(pop.name, pop.url, pop.token.reveal(), session)
    if pop.kind == "fastly":
        return fastly_store(pop.name, pop.url, pop.token.reveal(), session)
    if pop.kind == "cloudflare":
        return Cloudflare(pop.name, pop.url, pop.token.reveal(), session)
    raise SettingsError(f"edge: {pop.name}: unknown kind {pop.kind!r}; use one of http, cloudflare, fastly")


def open_session(max_connections: int = 32) -> aiohttp.ClientSession:
    """One session serves every point of presence; close it with the worker. Each request sets its own timeout."""
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit_per_host=max_connections, ttl_dns_cache=60))
