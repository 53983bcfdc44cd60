"""Finds the region's workers by their registrations, and fetches summaries."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import aiohttp
import msgspec

from notify_streams.errors import StoreUnavailable
from notify_streams.field_errors import DECODE_ERRORS
from notify_streams.response_body import read_response
from notify_streams.roles import ROLES
from notify_streams.stores.redis import connect
from notify_streams.web.region_reads import read_shared
from notify_streams.web.summary import Summary
from notify_streams.web.worker_objects import one_for
from notify_streams.worker_registration import RegisteredWorker, key_of, read_workers, remove, superseded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from notify_streams.app import NotifyApp
    from notify_streams.settings import Settings

_TIMEOUT_S: Final = 2.5
_CONNECT_S: Final = 1.0
#: For all workers together; those that have not answered then count as silent.
_ALL_S: Final = 4.0
_MAX_BYTES: Final = 256 * 1024
_CONCURRENT: Final = 64
#: A worker without a sign of life for so long does not run; it gives one every 5 s.
DEAD_S: Final = 15.0
_read = msgspec.json.Decoder(Summary).decode

#: Why there is no summary. `refused`: nothing listens at the address, or another worker does; `unreachable`: no connection;
#: `silent`: a connection, and no answer.
Failure = Literal["refused", "unreachable", "silent"]


@dataclass(frozen=True, slots=True)
class Peer:
    """A registered worker, and what it answered."""

    registered: RegisteredWorker
    summary: Summary | None
    failure: Failure | None = None
    #: By how much its clock is ahead of this machine's.
    ahead_s: float = 0.0

    @property
    def role(self) -> str:
        return self.registered.entry.role

    @property
    def host(self) -> str:
        return self.registered.entry.host

    @property
    def port(self) -> int:
        return self.registered.entry.port


@dataclass(frozen=True, slots=True)
class Peers:
    """The registered workers of a region."""

    workers: Sequence[Peer]
    #: Redis's time (Unix, in seconds) when the registrations were read; None: Redis did not answer, and these were known before.
    redis_time: float | None


class KnownPeers:
    """The registrations as they were read last, for as long as Redis is away."""

    def __init__(self, worker: NotifyApp) -> None:
        self._worker = worker
        self._known: list[RegisteredWorker] = []

    async def fetch(self) -> Peers:
        """The workers with their summaries; some seconds at most."""
        redis, region = self._worker.preferences.redis, self._worker.settings.region
        now: float | None = None
        try:
            now, found = await read_workers(redis, region)
            old = set(superseded(found, now, DEAD_S))
            self._known = [one for one in found if one.entry.id not in old]
            await remove(redis, key_of(region), sorted(old))
        except StoreUnavailable:
            pass
        return Peers(await fetch_summaries(self._known, region), now)


async def region_peers(worker: NotifyApp) -> Peers:
    """The workers of the worker's region, fetched at most once a second for all views."""
    return await read_shared(worker, _fetch_region)


async def _fetch_region(worker: NotifyApp) -> Peers:
    return await one_for(worker, KnownPeers).fetch()


async def fetch_peers(settings: Settings) -> Peers:
    """The same for one command.

    Raises:
        StoreUnavailable: Redis does not answer.
    """
    async with connect(settings) as redis:
        now, found = await read_workers(redis, settings.region)
    old = set(superseded(found, now, DEAD_S))
    return Peers(await fetch_summaries([one for one in found if one.entry.id not in old], settings.region), now)


async def fetch_summaries(workers: Sequence[RegisteredWorker], region: str) -> list[Peer]:
    """Ask each worker at its address."""
    session = aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S, sock_connect=_CONNECT_S),
        connector=aiohttp.TCPConnector(limit=_CONCURRENT),
        headers={"Accept": "application/json"},
    )
    async with session:
        asked = [asyncio.create_task(_fetch(session, region, one)) for one in workers]
        if asked:
            _, late = await asyncio.wait(asked, timeout=_ALL_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
    return [
        Peer(one, None, "silent") if task.cancelled() else task.result()
        for one, task in zip(workers, asked, strict=True)
    ]


async def _fetch(session: aiohttp.ClientSession, region: str, worker: RegisteredWorker) -> Peer:
    entry = worker.entry
    began = time.time()
    host = f"[{entry.host}]" if ":" in entry.host else entry.host
    try:
        async with session.get(f"http://{host}:{entry.port}/", allow_redirects=False) as response:
            # The declared length is of the bytes before they are decompressed.
            body = await read_response(response, _MAX_BYTES + 1)
    except aiohttp.ConnectionTimeoutError:
        return Peer(worker, None, "unreachable")
    except TimeoutError:
        return Peer(worker, None, "silent")
    except (aiohttp.ClientError, OSError):
        return Peer(worker, None, "refused")
    try:
        found = _read(body) if len(body) <= _MAX_BYTES else None
    except DECODE_ERRORS:
        found = None
    if found is None:
        return Peer(worker, None, "silent")
    if found.region != region or found.role not in ROLES or found.id != entry.id:
        return Peer(worker, None, "refused")
    return Peer(worker, found, ahead_s=found.clock - (began + time.time()) / 2)
