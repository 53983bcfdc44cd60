"""The other roles' workers, as far as they run on this machine: each is asked for its `Summary` at its role's port.

A worker elsewhere, one that is too busy, and something else that listens there are all the same: no answer.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import aiohttp
import msgspec

from notify_streams.roles import ROLES
from notify_streams.web.summary import Summary

if TYPE_CHECKING:
    from notify_streams.settings import Settings

_WITHIN_S: Final = 2.5
_MOST_BYTES: Final = 256 * 1024
_EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "": "127.0.0.1"}
_read = msgspec.json.Decoder(Summary).decode


def port_of(settings: Settings, role: str) -> int:
    """Where a role's first worker listens; `web_port` moves one worker only."""
    return settings.web_port_base + ROLES.index(role)


async def ask_others(settings: Settings, own: str) -> dict[str, Summary | None]:
    """Every role but `own`, in the order of `ROLES`."""
    roles = [role for role in ROLES if role != own]
    timeout = aiohttp.ClientTimeout(total=_WITHIN_S)
    async with aiohttp.ClientSession(timeout=timeout, headers={"Accept": "application/json"}) as session:
        found = await asyncio.gather(*(_ask(session, settings, role) for role in roles))
    return dict(zip(roles, found, strict=True))


async def _ask(session: aiohttp.ClientSession, settings: Settings, role: str) -> Summary | None:
    host = _EVERYWHERE.get(settings.web_host, settings.web_host)
    try:
        async with session.get(f"http://{host}:{port_of(settings, role)}/", allow_redirects=False) as response:
            if not 0 < (response.content_length or 0) <= _MOST_BYTES:
                return None
            body = await response.read()
    except (aiohttp.ClientError, OSError, TimeoutError):
        return None
    try:
        found = _read(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return found if (found.region, found.role) == (settings.region, role) else None
