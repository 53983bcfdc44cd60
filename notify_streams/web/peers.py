"""Fetches the summaries of the other roles' workers on this machine."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import aiohttp
import msgspec

from notify_streams.roles import ROLES
from notify_streams.web.summary import Summary

if TYPE_CHECKING:
    from notify_streams.settings import Settings

_TIMEOUT_S: Final = 2.5
_MAX_BYTES: Final = 256 * 1024
_WILDCARD_HOSTS: Final = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "": "127.0.0.1"}
_read = msgspec.json.Decoder(Summary).decode


def web_port_of(settings: Settings, role: str) -> int:
    """The port of a role's first worker, which the setting `web_port` does not change."""
    return settings.web_port_base + ROLES.index(role)


async def fetch_summaries(settings: Settings, own: str) -> dict[str, Summary | None]:
    """The summary of each role but `own`, in the order of `ROLES`; None without a valid response."""
    roles = [role for role in ROLES if role != own]
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
    async with aiohttp.ClientSession(timeout=timeout, headers={"Accept": "application/json"}) as session:
        found = await asyncio.gather(*(_fetch(session, settings, role) for role in roles))
    return dict(zip(roles, found, strict=True))


async def _fetch(session: aiohttp.ClientSession, settings: Settings, role: str) -> Summary | None:
    host = _WILDCARD_HOSTS.get(settings.web_host, settings.web_host)
    try:
        async with session.get(f"http://{host}:{web_port_of(settings, role)}/", allow_redirects=False) as response:
            if not 0 < (response.content_length or 0) <= _MAX_BYTES:
                return None
            body = await response.read()
    except (aiohttp.ClientError, OSError, TimeoutError):
        return None
    try:
        found = _read(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return found if (found.region, found.role) == (settings.region, role) else None
