"""The region's Redis, with timeouts short enough that a lost one costs a batch no more than a moment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

if TYPE_CHECKING:
    from notify_streams.settings import Settings


def connect(settings: Settings) -> Redis:
    """A client that speaks bytes. It connects at its first command and never retries on its own: callers have another way."""
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
