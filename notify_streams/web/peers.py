"""Fetches the summaries of the region's other workers, for the page.

They are found by the setting `web_peers`; without it they are the workers of this machine, one of each role.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import aiohttp
import msgspec

from notify_streams.roles import ROLES, VIEWS
from notify_streams.web.region_reads import read_shared
from notify_streams.web.summary import Summary

if TYPE_CHECKING:
    from collections.abc import Sequence

    from notify_streams.app import NotifyApp
    from notify_streams.settings import Settings

_TIMEOUT_S: Final = 2.5
_MAX_BYTES: Final = 256 * 1024
_MAX_PEERS: Final = 500
_CONCURRENT: Final = 32
_WILDCARD_HOSTS: Final = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "": "127.0.0.1"}
_read = msgspec.json.Decoder(Summary).decode


@dataclass(frozen=True, slots=True)
class Peer:
    """Another worker of the region. `name`: its role, or its address if that is all that is known."""

    name: str
    host: str
    port: int
    #: None if it gave no valid response.
    summary: Summary | None


def web_port_of(settings: Settings, role: str) -> int:
    """The port of a role's first worker, which the setting `web_port` does not change."""
    return settings.web_port_base + ROLES.index(role)


async def region_peers(worker: NotifyApp) -> list[Peer]:
    """`fetch_peers` of the worker's region, at most once a second for all views."""
    return await read_shared(worker, _fetch_region)


async def _fetch_region(worker: NotifyApp) -> list[Peer]:
    return await fetch_peers(worker.settings)


async def fetch_peers(settings: Settings) -> list[Peer]:
    """The region's workers, without those of the role `views`; waits some seconds at most."""
    asked = await _resolve(settings.web_peers) if settings.web_peers else _on_this_machine(settings)
    session = aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S),
        connector=aiohttp.TCPConnector(limit=_CONCURRENT),
        headers={"Accept": "application/json"},
    )
    async with session:
        found = await asyncio.gather(*(_fetch(session, settings.region, peer.host, peer.port) for peer in asked))
    peers = [
        replace(peer, name=peer.name if summary is None else summary.role, summary=summary)
        for peer, summary in zip(asked, found, strict=True)
    ]
    return [peer for peer in peers if peer.name != VIEWS]


def _on_this_machine(settings: Settings) -> list[Peer]:
    host = _WILDCARD_HOSTS.get(settings.web_host, settings.web_host)
    return [Peer(role, host, web_port_of(settings, role), None) for role in ROLES if role != VIEWS]


async def _resolve(peers: Sequence[str]) -> list[Peer]:
    """Every address of each ``host:port``. A name that has none now is shown as a worker that does not respond."""
    loop = asyncio.get_running_loop()
    found: dict[tuple[str, int], Peer] = {}
    for peer in peers:
        host, _, port = peer.rpartition(":")
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                addresses = await loop.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)
        except (OSError, TimeoutError):
            found[host, int(port)] = Peer(peer, host, int(port), None)
            continue
        for family, _, _, _, address in addresses[:_MAX_PEERS]:
            name = f"[{address[0]}]" if family == socket.AF_INET6 else str(address[0])
            found[name, int(port)] = Peer(name, name, int(port), None)
    return list(found.values())


async def _fetch(session: aiohttp.ClientSession, region: str, host: str, port: int) -> Summary | None:
    try:
        async with session.get(f"http://{host}:{port}/", allow_redirects=False) as response:
            if not 0 < (response.content_length or 0) <= _MAX_BYTES:
                return None
            body = await response.read()
    except (aiohttp.ClientError, OSError, TimeoutError):
        return None
    try:
        found = _read(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return found if found.region == region and found.role in ROLES else None
