"""Faults of Redis during a race; each ends by itself and is repeated."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from redis.asyncio import Redis

#: Runs a fault once on the server of this connection.
Fault = Callable[["Redis", Random], Awaitable[None]]


async def none(redis: Redis, random: Random) -> None:
    await asyncio.sleep(1)


async def flush(redis: Redis, random: Random) -> None:
    """Delete every key, as a restart does."""
    await redis.flushall()
    await asyncio.sleep(random.uniform(0.05, 1.0))


async def pause(redis: Redis, random: Random) -> None:
    """Redis accepts commands and does not reply, for less or more than the clients' time-out."""
    for_s = random.uniform(0.1, 1.5)
    await redis.client_pause(int(for_s * 1000))
    await asyncio.sleep(for_s + random.uniform(0.2, 1.5))


async def full(redis: Redis, random: Random) -> None:
    """Redis refuses writes for lack of memory and still serves reads."""
    await redis.config_set("maxmemory", 1)
    await asyncio.sleep(random.uniform(0.1, 1.5))
    await redis.config_set("maxmemory", 0)
    await asyncio.sleep(random.uniform(0.2, 1.5))


async def cut(redis: Redis, random: Random) -> None:
    """Close the connections, some with a command in flight."""
    await redis.client_kill_filter(_type="normal", skipme=True)
    await asyncio.sleep(random.uniform(0.02, 0.5))


FAULTS: Final[dict[str, Fault]] = {"none": none, "flush": flush, "pause": pause, "full": full, "cut": cut}
