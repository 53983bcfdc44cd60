"""The factory of Redis clients: short time-outs, no retries."""

from __future__ import annotations

from typing import TYPE_CHECKING

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

if TYPE_CHECKING:
    from notify_streams.settings import Settings


def connect(settings: Settings) -> Redis:
    """A client that returns bytes and connects at its first command. It never retries: without Redis, callers read MongoDB."""
    timeout_s = settings.preferences.redis_timeout_s
    return Redis.from_url(
        settings.redis,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        max_connections=64,
        retry=Retry(NoBackoff(), 0),
        health_check_interval=0,
        decode_responses=False,
    )
