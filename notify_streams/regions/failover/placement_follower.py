"""Keeps a worker's placement current: reads control logs, answers releases.

A worker fails closed: it serves no users until it has read its own region's log and enough of the other regions' logs
(`protocol.required_logs`: one of the two others, of three regions). So a region that comes back knows every failover. The price:
a region that is cut off from all others *and* restarted as a whole waits for a link, or for an operator (`alone`). A worker that
joins running workers of its region needs no other region, since they have read the logs.
"""

from __future__ import annotations

import asyncio
import logging
import random
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Protocol

from notify_streams import metrics, tasks
from notify_streams.errors import RetryLater
from notify_streams.records.outcomes import DeadReason
from notify_streams.regions.failover.placement import Placement
from notify_streams.regions.failover.protocol import (
    ControlRecord,
    HomeRegions,
    credible,
    fold,
    homes_to_release,
    initial_homes,
    missing_serves,
    required_logs,
    startup_records,
)
from notify_streams.retry import RetryPolicy
from notify_streams.topics import REGION_CONTROL

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from notify_streams.regions.failover.log import ControlLog

log = logging.getLogger(__name__)
#: What each start waits for.
OWN_LOG: Final = "this region's control log"
_RETRY: Final = RetryPolicy("control_log", first_s=0.2, max_s=5.0)
_GOSSIP_EVERY_S: Final = 2.0
#: The own log is read at least so often.
_WAIT_S: Final = 2.0
_BEAT_EVERY_S: Final = 0.5


class Heartbeat(Protocol):
    """Whether other workers of this region run that have loaded a placement."""

    async def beat(self) -> None: ...
    async def others_run(self) -> bool:
        """True only if another worker was seen to beat during this call."""
        ...


class PlacementFollower:
    """One worker's placement.

    Args:
        own: this region's log; `others` those of the other regions.
        fence: called with a placement's epoch; returns when no flush that was decided by an earlier placement can commit any more.
        alone: the operator's word that no other region serves this region's users, for a region that can reach no other.
    """

    def __init__(
        self,
        regions: Sequence[str],
        own: ControlLog,
        others: Mapping[str, ControlLog],
        fence: Callable[[int], Awaitable[None]],
        heartbeat: Heartbeat | None = None,
        *,
        alone: bool = False,
    ) -> None:
        self._regions = regions
        self._own = own
        self._others = dict(others)
        self._fence = fence
        self._heartbeat = heartbeat
        self._alone = alone
        self._position = 0
        self._homes: HomeRegions = initial_homes(regions)
        #: By other region: the position up to which its log was read.
        self._other_positions: dict[str, int] = {}
        self._changed = asyncio.Condition()
        #: None until `load` has returned: nothing may be decided.
        self.placement: Placement | None = None
        #: What `load` waits for, shown by `/ready` and `/regions`; None once it has returned.
        self.waiting_for: str | None = OWN_LOG
        #: Regions whose log could not be read at the last try.
        self.unreachable: frozenset[str] = frozenset()

    async def load(self) -> Placement:
        """Return when this worker knows enough to serve; retries without limit. A region that does not answer proves nothing."""
        attempts = _RETRY.attempts()
        while self.placement is None:
            try:
                await self._load_once()
            except RetryLater as error:
                self.waiting_for = str(error)
                await attempts.failed(error)
        self.waiting_for = None
        return self.placement

    async def run(self) -> None:
        """Follow the own log, answer releases, and copy finished changes from other regions, until cancelled."""
        running = [asyncio.create_task(loop()) for loop in (self._follow, self._gossip, self._beat)]
        try:
            await asyncio.gather(*running)
        finally:
            await tasks.stop(running)

    async def changed(self, epoch: int) -> Placement:
        """Wait until the placement's epoch is larger than `epoch`: for batches that cannot be decided yet."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.placement is not None and self.placement.epoch > epoch)
        assert self.placement is not None
        return self.placement

    async def step(self) -> None:
        """Read new records of the own log and act on them; `run` calls this again and again.

        Raises:
            RetryLater: the own Kafka does not answer, or the fence could not be raised. No release was answered then.
        """
        records, self._position = await self._own.read(self._position)
        self._apply(records)
        placement = Placement(self._own.region, self._homes)
        if self.placement is not None and placement.epoch != self.placement.epoch:
            await self._publish(placement)
        await self._answer_releases(placement)

    async def gossip(self) -> None:
        """Copy finished changes that other regions' logs hold and this region's does not."""
        for name, (records, position) in (await self._read_others(self._other_positions)).items():
            for record in missing_serves(self._homes, records):
                log.warning(
                    "change copied from another region's control log",
                    extra={"action": "control_log.copy", "from": name, "home": record.home, "epoch": record.epoch},
                )
                await self._own.append(record)
            self._other_positions[name] = position

    async def _load_once(self) -> None:
        await self._read_own()
        if not self._alone:
            if self._heartbeat is not None and await self._heartbeat.others_run():
                await self._read_own()  # again: the other workers may have written to it since
            else:
                await self._read_and_merge_others()
        placement = Placement(self._own.region, self._homes)
        await self._publish(placement)
        await self._answer_releases(placement)

    async def _read_own(self) -> None:
        records, self._position = await self._own.read()
        self._homes = initial_homes(self._regions)
        self._apply(records)

    def _apply(self, records: Sequence[ControlRecord]) -> None:
        kept = credible(self._homes, records)
        if refused := len(records) - len(kept):
            metrics.REJECTED_RECORDS.labels(REGION_CONTROL, DeadReason.INVALID.value).inc(refused)
            log.error(
                "control records refused: unknown regions or an impossible epoch",
                extra={"action": "control_log.refuse", "records": refused},
            )
        self._homes = fold(self._homes, kept)

    async def _read_and_merge_others(self) -> None:
        others = await self._read_others({})
        read, needed = 1 + len(others), required_logs(self._regions)
        if read < needed:
            raise RetryLater(
                f"{read} of {needed} control logs could be read; without the others a failover may have gone unnoticed"
            )
        self._other_positions = {name: position for name, (_, position) in others.items()}
        while to_write := startup_records(self._homes, [records for records, _ in others.values()], datetime.now(UTC)):
            for record in to_write:
                await self._own.append(record)
            # A claim that was written in between makes these records void: read again.
            await self._read_own()

    async def _read_others(self, starts: Mapping[str, int]) -> dict[str, tuple[list[ControlRecord], int]]:
        names = list(self._others)
        results = await asyncio.gather(
            *(self._others[name].read(starts.get(name, 0)) for name in names), return_exceptions=True
        )
        read: dict[str, tuple[list[ControlRecord], int]] = {}
        for name, result in zip(names, results, strict=True):
            if isinstance(result, RetryLater):
                continue
            if isinstance(result, BaseException):
                raise result
            read[name] = result
        self.unreachable = frozenset(names) - read.keys()
        return read

    async def _publish(self, placement: Placement) -> None:
        async with self._changed:
            self.placement = placement
            self._changed.notify_all()

    async def _answer_releases(self, placement: Placement) -> None:
        for name, home in homes_to_release(self._homes, self._own.region).items():
            await self._fence(placement.epoch)
            released = ControlRecord(
                name, home.epoch, "released", self._own.region, home.claim_token, datetime.now(UTC)
            )
            await self._own.append(released)

    async def _follow(self) -> None:
        while True:
            await _RETRY.call(self.step)
            await _RETRY.call(self._own.wait, self._position, _WAIT_S)

    async def _gossip(self) -> None:
        while True:
            await asyncio.sleep(_GOSSIP_EVERY_S * (0.5 + random.random()))
            try:
                await self.gossip()
            except RetryLater as error:
                log.warning(
                    "own control log not writable, changes of other regions not copied",
                    extra={"action": "control_log.copy_failed", "error": error},
                )

    async def _beat(self) -> None:
        while self._heartbeat is not None:
            if self.placement is not None:
                await self._heartbeat.beat()
            await asyncio.sleep(_BEAT_EVERY_S)
