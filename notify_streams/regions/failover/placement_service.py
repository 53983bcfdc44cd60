"""A worker's `PlacementFollower` with what it needs: the control logs, the fence, the beat of its neighbours. Lives and dies with the worker.

Nothing is read before `learnt` returns. Only the forward role asks other regions: it is the one that may connect there; the other roles
learn from their own log once somebody of their region has learnt.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from notify_streams.outbox.fence import raise_fence
from notify_streams.regions.failover.heartbeat import RedisHeartbeat
from notify_streams.regions.failover.log import KafkaControlLog
from notify_streams.regions.failover.placement_follower import PlacementFollower
from notify_streams.stores.redis import connect
from notify_streams.transport.client_shutdown import is_cancelled

if TYPE_CHECKING:
    from notify_streams.settings import Settings
    from notify_streams.stores.mongo import Shards

log = logging.getLogger(__name__)
_AFTER_ERROR_S: Final = 1.0


class PlacementService:
    """`learning` is what agents and views look at; it knows nothing until the worker has started."""

    def __init__(self, settings: Settings, shards: Shards, *, asks_others: bool) -> None:
        self._own = KafkaControlLog(settings.region, settings.kafka_connection())
        others = settings.remote_kafka_connections() if asks_others else {}
        self._others = {region: KafkaControlLog(region, connection) for region, connection in others.items()}
        self._redis = connect(settings)
        self.learning = PlacementFollower(
            settings.regions,
            self._own,
            self._others,
            partial(raise_fence, shards),
            RedisHeartbeat(self._redis, settings.region),
            # Settings that name no other region's Kafka are the operator's word that there is none to ask.
            alone=not settings.remote_kafka,
        )
        self._learnt = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to learn; returns at once, so that the views can say what the worker waits for."""
        self._task = asyncio.create_task(self._live())

    async def learnt(self, _: object) -> None:
        """Return when the worker may read: to be called before the first batch of any partition."""
        await self._learnt.wait()

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        for one in (self._own, *self._others.values()):
            await one.close()
        await self._redis.aclose()

    async def _live(self) -> None:
        while True:
            try:
                await self.learning.learn()
                self._learnt.set()
                await self.learning.run()
            except asyncio.CancelledError:
                if is_cancelled():
                    raise
                log.warning("a client gave a request up, trying again", extra={"action": "control"})
            except Exception:
                log.exception("who serves whom could not be followed", extra={"action": "control"})
                await asyncio.sleep(_AFTER_ERROR_S)
