"""Runs the placement follower of a worker: control logs, fence and heartbeat.

No record is read before `wait_until_loaded` returns. Only the forward role reads other regions' logs, because only it may connect
there; the other roles read their own region's log once the forward role has loaded a placement.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from notify_streams import tasks
from notify_streams.regions.failover.heartbeat import RedisHeartbeat
from notify_streams.regions.failover.log import KafkaControlLog
from notify_streams.regions.failover.placement_follower import PlacementFollower
from notify_streams.stores.redis import connect
from notify_streams.transport.client_shutdown import is_cancelled

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from notify_streams.settings import Settings

log = logging.getLogger(__name__)
_AFTER_ERROR_S: Final = 1.0


class PlacementService:
    """`follower` is what agents and views read; it has no placement until the worker has started.

    Args:
        fence: see `PlacementFollower`.
        reads_other_regions: whether the follower may connect to the other regions' Kafka.
    """

    def __init__(
        self, settings: Settings, fence: Callable[[int], Awaitable[None]], *, reads_other_regions: bool
    ) -> None:
        self._own = KafkaControlLog(settings.region, settings.kafka_connection())
        others = settings.remote_kafka_connections() if reads_other_regions else {}
        self._others = {region: KafkaControlLog(region, connection) for region, connection in others.items()}
        self._redis = connect(settings)
        self.follower = PlacementFollower(
            settings.regions,
            self._own,
            self._others,
            fence,
            RedisHeartbeat(self._redis, settings.region),
            # Settings without another region's Kafka are the operator's word that no other region exists.
            alone=not settings.remote_kafka,
        )
        self._loaded = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start to load the placement and return at once, so that the views can show what the worker waits for."""
        self._task = asyncio.create_task(self._run())

    async def wait_until_loaded(self, _: object) -> None:
        """Return when the worker may read records; call it before the first batch of any partition."""
        await self._loaded.wait()

    async def stop(self) -> None:
        await tasks.stop([self._task])
        for control_log in (self._own, *self._others.values()):
            await control_log.close()
        await self._redis.aclose()

    async def _run(self) -> None:
        while True:
            try:
                await self.follower.load()
                self._loaded.set()
                await self.follower.run()
            except asyncio.CancelledError:
                if is_cancelled():
                    raise
                log.warning(
                    "a client cancelled a request, placement follower restarts",
                    extra={"action": "placement_follower.restart"},
                )
            except Exception:
                log.exception(
                    "placement follower failed, will be restarted", extra={"action": "placement_follower.fail"}
                )
                await asyncio.sleep(_AFTER_ERROR_S)
